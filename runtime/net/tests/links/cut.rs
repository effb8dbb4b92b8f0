//! Links that fall silent without a word: whoever waits is told whom for, in time, and the rest go on anew.

use std::time::{Duration, Instant};

use hcrun_kernels::host_buffers::HostBuffers;
use hcrun_net::LinkLoss;
use hcrun_net::collective::{Communicator, FailCause, Failed, Options};
use hcrun_net::group::{LaneSettings, RoundError};
use hcrun_net::socket::{Cut, Emulation};
use hcrun_protocol::job::Algorithm;
use hcrun_protocol::link::LinkSpec;
use hcrun_protocol::{BitsPerSec, Generation, Rank, Span};

use crate::world::{Ranks, World, all_reduce, begin_all, chain, received, until};

const SILENCE: Duration = Duration::from_millis(1_000);
/// A machine that is busy with other tests wakes a thread late.
const MARGIN: Duration = Duration::from_millis(1_500);
const ELEMS: usize = 3 << 18;
const RANKS: usize = 3;

/// How far an all-reduce is when the link is cut.
#[derive(Debug, Clone, Copy)]
enum Moment {
    /// Before anything is sent.
    Start,
    /// While the ranks still sum.
    Reduce,
    /// While they hand out sums.
    Gather,
}

impl Moment {
    /// Frame bytes that a rank has received by then, out of all of this all-reduce.
    fn received(self, all: u64) -> u64 {
        match self {
            Moment::Start => 0,
            Moment::Reduce => all / 10,
            Moment::Gather => all * 11 / 20,
        }
    }
}

fn settings(seed: u64, cut: &Cut) -> LaneSettings {
    let emulation = Emulation {
        seed,
        delay: Span::from_millis(1),
        // Long enough for the moments to be met.
        rate: Some(BitsPerSec(30_000_000)),
        // What is on its way when the link is cut still arrives.
        queue_bytes: 256 << 10,
        cut: cut.clone(),
        ..Emulation::default()
    };
    let link = LinkSpec { mtu: Some(8_952), ..LinkSpec::default() };
    LaneSettings { lanes: 1, silence: SILENCE, link, emulation: Some(emulation) }
}

/// Begins two all-reduces, cuts in the first what the ranks of `cuts` send, and returns how all of them fail, if they do.
///
/// Segments of a whole part keep the two halves of an all-reduce apart.
fn cut_at(moment: Moment, ranks: &Ranks, cut: &Cut) -> Vec<Option<Failed<HostBuffers>>> {
    let options = Options { algorithm: Some(Algorithm::Direct), ..Options::default() };
    let all = (2 * (RANKS - 1) * ELEMS * 4 / RANKS) as u64;
    let before: Vec<u64> = ranks.iter().map(received).collect();
    if let Moment::Start = moment {
        cut.set(true);
    }
    // Ranks are not equally far: one that is done with the first waits in the second.
    let first = begin_all(ranks, ELEMS, &options);
    let pending = begin_all(ranks, ELEMS, &options);
    let progress = || ranks.iter().zip(&before).map(|(rank, before)| received(rank) - before);
    until("it is time to cut", || progress().all(|bytes| bytes >= moment.received(all)));
    cut.set(true);
    let since = Instant::now();
    assert!(progress().all(|bytes| bytes < 2 * all), "{moment:?}: it was over before the cut");
    first.into_iter().for_each(|pending| drop(pending.wait()));
    let errors: Vec<_> = pending.into_iter().map(|pending| pending.wait().err()).collect();
    let took = since.elapsed();
    assert!(took < SILENCE + MARGIN, "{moment:?}: it took {took:?} until all knew");
    errors
}

fn is_silent(error: &Failed<HostBuffers>) -> bool {
    matches!(&error.cause, FailCause::Round(RoundError::PeerLost { source: LinkLoss::Silent, .. }))
}

/// Nothing of the last rank is heard any more.
#[track_caller]
fn one_falls_silent(moment: Moment) {
    let cut = Cut::default();
    let (whole, lost) = (Cut::default(), RANKS - 1);
    let settings = |rank: usize| settings(rank as u64, if rank == lost { &cut } else { &whole });
    let mut world = World::new((0..RANKS).map(settings).collect());
    world.segment_bytes = 64 << 10;
    let ranks = world.form();
    let errors = cut_at(moment, &ranks, &cut);
    for (rank, error) in errors.into_iter().enumerate() {
        // The lost rank hears on: it may end well, and cannot tell whose silence it is.
        if rank != lost {
            let error = error.expect("it waits for the lost rank");
            let named = error.peer();
            assert_eq!(named, Some(Rank::from_index(lost)), "{moment:?}: rank {rank}: {}", chain(error));
        } else if let Some(error) = error {
            assert!(error.peer().is_some(), "{moment:?}: {}", chain(error));
        }
    }
    drop(ranks);
    let rest: Vec<usize> = (0..lost).collect();
    let ranks: Vec<Communicator<HostBuffers>> = world.form_of(&rest, Generation(2));
    all_reduce(&ranks, ELEMS / 16, &Options::default());
}

/// Nobody hears of anybody.
#[track_caller]
fn all_fall_silent(moment: Moment) {
    let cut = Cut::default();
    let mut world = World::new((0..RANKS as u64).map(|rank| settings(rank, &cut)).collect());
    let ranks = world.form();
    for (rank, error) in cut_at(moment, &ranks, &cut).into_iter().enumerate() {
        let error = error.expect("nothing arrives any more");
        let named = error.peer().filter(|peer| peer.index() != rank);
        assert!(named.is_some() && is_silent(&error), "{moment:?}: rank {rank}: {}", chain(error));
    }
    drop(ranks);
    cut.set(false);
    let ranks = world.form_of(&[0, 1, 2], Generation(2));
    all_reduce(&ranks, ELEMS / 16, &Options::default());
}

#[test]
fn a_rank_that_falls_silent_at_the_start_is_named_by_all() {
    one_falls_silent(Moment::Start);
}

#[test]
fn a_rank_that_falls_silent_in_the_reduce_phase_is_named_by_all() {
    one_falls_silent(Moment::Reduce);
}

#[test]
fn a_rank_that_falls_silent_in_the_gather_phase_is_named_by_all() {
    one_falls_silent(Moment::Gather);
}

#[test]
fn ranks_that_hear_of_nobody_at_the_start_each_name_one() {
    all_fall_silent(Moment::Start);
}

#[test]
fn ranks_that_hear_of_nobody_in_the_reduce_phase_each_name_one() {
    all_fall_silent(Moment::Reduce);
}

#[test]
fn ranks_that_hear_of_nobody_in_the_gather_phase_each_name_one() {
    all_fall_silent(Moment::Gather);
}
