//! Room for segments that wait for their turn: it bounds what lies here, and stops nobody for good.

use std::thread;

use hcrun_kernels::host_buffers::HostBuffers;
use hcrun_net::collective::{Communicator, Options, Pending};
use hcrun_net::group::LaneSettings;
use hcrun_protocol::dtype::Codec;
use hcrun_protocol::job::Algorithm;
use hcrun_protocol::{Rank, Span};

use crate::world::{Ranks, World, assert_exact, begin, received, until};

const STAGING: usize = 256 << 10;
const SEGMENT: usize = 32 << 10;

fn form(ranks: usize, lanes: usize) -> Ranks {
    let settings = LaneSettings { lanes, ..LaneSettings::default() };
    let mut world = World::new(vec![settings; ranks]);
    (world.staging_bytes, world.segment_bytes) = (STAGING, SEGMENT);
    world.form()
}

fn options(algorithm: Algorithm, tag: u32) -> Options {
    Options { deadline: Span::from_secs(8), algorithm: Some(algorithm), ..Options::tag(tag) }
}

#[test]
fn ranks_that_submit_in_other_orders_hold_each_other_up_but_not_for_good() {
    for lanes in [1, 2] {
        for kib in [128, 256, 384, 512, 768, 1_024, 4_096] {
            for algorithm in [Algorithm::OneShot, Algorithm::Direct, Algorithm::Ring] {
                let ranks = form(3, lanes);
                let elems = kib << 8;
                let mut pending: [Vec<Pending<HostBuffers>>; 2] = Default::default();
                for (rank, order) in ranks.iter().zip([[1, 2], [2, 1], [1, 2]]) {
                    for tag in order {
                        pending[tag as usize - 1].push(begin(rank, elems, &options(algorithm, tag)));
                    }
                }
                pending.into_iter().for_each(|pending| assert_exact(&ranks, pending, elems));
            }
        }
    }
}

#[test]
fn a_rank_ahead_of_one_that_waits_for_each_round_gets_through() {
    let (ranks, elems) = (form(2, 1), 1 << 15);
    let options = |tag| options(Algorithm::Direct, tag);
    // Sums of the first come behind contributions to the others.
    let ahead: Vec<_> = (1..=6).map(|tag| begin(&ranks[1], elems, &options(tag))).collect();
    until("rank 0 is full", || received(&ranks[0]) + 2 * (SEGMENT as u64) > STAGING as u64);
    for (tag, ahead) in (1..).zip(ahead) {
        // Rank 0 waits for each sum before it submits the next.
        let behind = begin(&ranks[0], elems, &options(tag));
        assert_exact(&ranks, vec![behind, ahead], elems);
    }
}

#[test]
fn ranks_that_are_ahead_of_another_are_held_up() {
    let (ranks, elems) = (form(3, 1), 1 << 18);
    let begin = |rank, tag| begin(rank, elems, &options(Algorithm::OneShot, tag));
    let (late, ahead) = ranks.split_last().unwrap();
    let mut pending: Vec<Vec<_>> =
        (1..=8).map(|tag| ahead.iter().map(|rank| begin(rank, tag)).collect()).collect();
    // What the two have from each other waits for the third.
    let share = STAGING as u64 / 2;
    let is_full = |rank| received(rank) + 2 * (SEGMENT as u64) > share;
    until("both are full", || ahead.iter().all(is_full));
    (1..).zip(&mut pending).for_each(|(tag, pending)| pending.push(begin(late, tag)));
    pending.into_iter().for_each(|pending| assert_exact(&ranks, pending, elems));
    for rank in &ranks {
        let most = rank.group().counters().most_staged_bytes();
        assert!(most <= STAGING as u64, "{most} bytes were staged");
    }
}

#[test]
fn what_a_lossy_codec_packed_for_a_late_rank_is_bounded() {
    let ranks = form(3, 1);
    let options = |tag| Options { codec: Codec::Bf16, ..options(Algorithm::OneShot, tag) };
    let broadcast = |rank: &Communicator<HostBuffers>| {
        let own = HostBuffers::new(vec![1.0_f32; 4 << 20]);
        rank.broadcast(Rank(0), own, &options(1)).unwrap()
    };
    let sent = |to: Rank| -> u64 {
        let rows = ranks[0].group().counters().snapshot();
        rows.iter().filter(|row| row.peer == to).map(|row| row.sent).sum()
    };
    let mut pending: Vec<_> = ranks[..2].iter().map(broadcast).collect();
    // What goes to rank 1 after this went only because the broadcast cannot go on.
    let pair: Vec<_> = ranks[..2].iter().map(|rank| rank.subgroup(&[Rank(0), Rank(1)]).unwrap()).collect();
    thread::scope(|scope| {
        pair.iter().for_each(|pair| drop(scope.spawn(|| pair.barrier(&Options::default()).unwrap())));
    });
    let ahead = sent(Rank(1)) - sent(Rank(2));
    assert!(ahead > SEGMENT as u64 && ahead < 64 * SEGMENT as u64, "rank 1 is {ahead} bytes ahead");
    pending.push(broadcast(&ranks[2]));
    for pending in pending {
        let got: Vec<f32> = pending.wait().unwrap().into_vec().unwrap();
        assert!(got.iter().all(|value| *value == 1.0));
    }
}
