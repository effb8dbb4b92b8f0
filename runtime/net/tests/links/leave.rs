//! Ranks that end before others: what they sent still counts, and who waits for them hears of it at once.

use std::time::{Duration, Instant};

use hcrun_kernels::host_buffers::HostBuffers;
use hcrun_net::collective::{Communicator, FailCause, Options};
use hcrun_net::group::{LaneSettings, RoundError};
use hcrun_protocol::Span;
use hcrun_protocol::job::Algorithm;

use crate::world::{World, begin, chain, sent, until};

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
    let gave_up =
        matches!(&error.cause, FailCause::Round(RoundError::GaveUp { reason, .. }) if reason == "told to");
    assert!(gave_up, "{}", chain(error));
}
