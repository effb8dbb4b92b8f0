//! Ranks that end before others: what they sent still counts, and who waits for them hears of it at once.

use std::time::{Duration, Instant};

use hcrun_kernels::host_buffers::HostBuffers;
use hcrun_net::collective::{Communicator, Options};
use hcrun_net::group::LaneSettings;
use hcrun_net::socket::Emulation;
use hcrun_protocol::job::Algorithm;
use hcrun_protocol::link::LinkSpec;
use hcrun_protocol::{BitsPerSec, Rank, Span};

use crate::world::{World, begin, chain, received, sent, until};

/// Far before the deadlines below, and after whatever a busy machine does.
const SOON: Duration = Duration::from_secs(5);
const DEADLINE: Span = Span::from_secs(20);

/// Two ranks whose readers soon have no room.
fn little_room(lanes: usize) -> Vec<Communicator<HostBuffers>> {
    let settings = LaneSettings { lanes, ..LaneSettings::default() };
    let mut world = World::new(vec![settings; 2]);
    world.staging_bytes = 128 << 10;
    world.segment_bytes = 32 << 10;
    world.form()
}

/// What a rank sends is its own and waits for nobody.
fn one_shot(options: Options) -> Options {
    Options { deadline: DEADLINE, algorithm: Some(Algorithm::OneShot), ..options }
}

#[test]
fn an_abort_is_heard_behind_segments_that_are_held_up() {
    let ranks = little_room(1);
    let options = |tag| one_shot(Options::tag(tag));
    // What rank 0 sends is of a round that rank 1 does not have.
    let _ahead = begin(&ranks[0], 1 << 17, &options(1));
    let waiting = begin(&ranks[1], 256, &options(2));
    until("rank 1 is full", || sent(&ranks[0]) > 192 << 10);
    let since = Instant::now();
    ranks[0].group().abort("told to");
    let error = waiting.wait().unwrap_err();
    assert!(since.elapsed() < SOON, "{:?}", since.elapsed());
    // The word itself may be lost, and then the link is found to be gone.
    assert_eq!(error.peer(), Some(Rank(0)), "{}", chain(error));
}

#[test]
fn a_late_rank_gets_all_that_a_rank_that_has_left_sent_on_all_its_lanes() {
    for kib in [160, 192, 256, 320] {
        let mut ranks = little_room(2);
        let (late, root) = (ranks.pop().unwrap(), ranks.pop().unwrap());
        let broadcast = |rank: &Communicator<HostBuffers>, value: f32| {
            let own = HostBuffers::new(vec![value; kib << 8]);
            rank.broadcast(Rank(0), own, &one_shot(Options::default())).unwrap()
        };
        broadcast(&root, 1.0).wait().unwrap();
        drop(root);
        let got: Vec<f32> = broadcast(&late, 0.0).wait().map_err(chain).unwrap().into_vec().unwrap();
        assert!(got.iter().all(|value| *value == 1.0), "{kib} KiB");
    }
}

#[test]
fn what_a_rank_that_has_left_sent_arrives_however_slow_its_link_is() {
    let link = LinkSpec {
        rate: Some(BitsPerSec(100_000_000)),
        round_trip: Some(Span::from_millis(200)),
        ..LinkSpec::default()
    };
    // Two and a half seconds of bytes, in windows that take them at once.
    let rate = Some(BitsPerSec(10_000_000));
    let emulation = Emulation { rate, queue_bytes: 256 << 10, ..Emulation::default() };
    let mut ranks = World::over(2, link, &emulation).form();
    let (receiver, root) = (ranks.pop().unwrap(), ranks.pop().unwrap());
    let broadcast = |rank: &Communicator<HostBuffers>, value: f32| {
        let own = HostBuffers::new(vec![value; 3 << 18]);
        rank.broadcast(Rank(0), own, &one_shot(Options::default())).unwrap()
    };
    let receiving = broadcast(&receiver, 0.0);
    broadcast(&root, 1.0).wait().unwrap();
    drop(root);
    let got: Vec<f32> = receiving.wait().map_err(chain).unwrap().into_vec().unwrap();
    assert!(got.iter().all(|value| *value == 1.0));
}

#[test]
fn a_receiver_that_leaves_is_named_by_its_sender_at_once() {
    let link = LinkSpec::default();
    let rate = Some(BitsPerSec(50_000_000));
    let emulation = Emulation { rate, queue_bytes: 1 << 20, ..Emulation::default() };
    let mut ranks = World::over(2, link, &emulation).form();
    let (receiver, root) = (ranks.pop().unwrap(), ranks.pop().unwrap());
    let begin = |rank: &Communicator<HostBuffers>| {
        let own = HostBuffers::new(vec![1.0_f32; 8 << 20]);
        rank.broadcast(Rank(0), own, &one_shot(Options::default())).unwrap()
    };
    let sending = begin(&root);
    drop(begin(&receiver));
    until("it has begun", || received(&receiver) > 0);
    let since = Instant::now();
    drop(receiver);
    let error = sending.wait().unwrap_err();
    assert!(since.elapsed() < SOON, "{:?}", since.elapsed());
    assert_eq!(error.peer(), Some(Rank(1)), "{}", chain(error));
}

#[test]
fn a_receiver_that_never_joins_and_leaves_is_named_by_its_sender_at_once() {
    let mut ranks = little_room(1);
    let (receiver, root) = (ranks.pop().unwrap(), ranks.pop().unwrap());
    let own = HostBuffers::new(vec![1.0_f32; 8 << 20]);
    let sending = root.broadcast(Rank(0), own, &one_shot(Options::default())).unwrap();
    until("the receiver is full", || sent(&root) > 192 << 10);
    let since = Instant::now();
    drop(receiver);
    let error = sending.wait().unwrap_err();
    assert!(since.elapsed() < SOON, "{:?}", since.elapsed());
    assert_eq!(error.peer(), Some(Rank(1)), "{}", chain(error));
}
