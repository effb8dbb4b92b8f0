//! A rank that is lost in the middle of a long all-reduce.

use std::time::{Duration, Instant};

use hcrun_protocol::{Generation, Rank};
use hcrun_tests::Signal;
use hcrun_tests::ranks::{Answer, RankProcess};

const SILENCE: Duration = Duration::from_millis(1_500);
/// A machine that is busy with other tests wakes a process late.
const MARGIN: Duration = Duration::from_secs(2);
/// An all-reduce of so many u64 takes longer than the longest delay.
const LONG_ELEMS: usize = 2 << 20;
const SHORT_ELEMS: usize = 10_000;

/// `ranks` processes, of which `lost` gets `what`, so long after an all-reduce has begun everywhere.
#[track_caller]
fn check(ranks: usize, lost: usize, what: Signal, delay: Duration) {
    let program = env!("CARGO_BIN_EXE_hcrun-rank-under-test");
    let mut all = RankProcess::start(program, ranks, SILENCE);
    RankProcess::form(&mut all, Generation(1), LONG_ELEMS, None);
    for rank in &mut all {
        // The first finds cold links.
        for _ in 0..2 {
            assert_eq!(rank.hear().1, Answer::Began);
        }
    }
    // The moment of the loss, not a wait for anything.
    std::thread::sleep(delay);
    let since = Instant::now();
    all[lost].signal(what);
    // A stopped process keeps its port until it is dropped, at the end.
    let _gone = all.remove(lost);
    for rank in &mut all {
        let (when, answer) = first_failure(rank);
        let Answer::Failed { peer, text } = answer else { panic!("{answer:?}") };
        assert_eq!(peer, Some(Rank::from_index(lost)), "{text}");
        assert!(text.contains(&format!("`here-{lost}`")) || text.contains("gave up"), "{text}");
        let took = when.duration_since(since);
        assert!(took < SILENCE + MARGIN, "after {took:?}: {text}");
    }
    RankProcess::form(&mut all, Generation(2), SHORT_ELEMS, Some(1));
    for rank in &mut all {
        assert_eq!(rank.hear().1, Answer::Began);
        assert_eq!(rank.hear().1, Answer::Done);
    }
}

/// Skips what went well before.
#[track_caller]
fn first_failure(rank: &mut RankProcess) -> (Instant, Answer) {
    loop {
        let heard = rank.hear();
        if heard.1 != Answer::Began {
            return heard;
        }
    }
}

macro_rules! cases {
    ($($name:ident: $lost:literal of $ranks:literal, $signal:ident after $delay:literal ms;)*) => {
        $(#[test]
        fn $name() {
            check($ranks, $lost, Signal::$signal, Duration::from_millis($delay));
        })*
    };
}

cases! {
    one_of_two_killed_at_once: 0 of 2, KILL after 0 ms;
    one_of_two_killed_after_5_ms: 1 of 2, KILL after 5 ms;
    one_of_two_killed_after_50_ms: 0 of 2, KILL after 50 ms;
    one_of_three_killed_at_once: 1 of 3, KILL after 0 ms;
    one_of_three_killed_after_5_ms: 0 of 3, KILL after 5 ms;
    one_of_three_killed_after_50_ms: 2 of 3, KILL after 50 ms;
    one_of_four_killed_at_once: 3 of 4, KILL after 0 ms;
    one_of_four_killed_after_5_ms: 1 of 4, KILL after 5 ms;
    one_of_four_killed_after_50_ms: 0 of 4, KILL after 50 ms;
    one_of_two_stopped_at_once: 1 of 2, STOP after 0 ms;
    one_of_two_stopped_after_5_ms: 0 of 2, STOP after 5 ms;
    one_of_two_stopped_after_50_ms: 1 of 2, STOP after 50 ms;
    one_of_three_stopped_at_once: 0 of 3, STOP after 0 ms;
    one_of_three_stopped_after_5_ms: 2 of 3, STOP after 5 ms;
    one_of_three_stopped_after_50_ms: 1 of 3, STOP after 50 ms;
    one_of_four_stopped_at_once: 0 of 4, STOP after 0 ms;
    one_of_four_stopped_after_5_ms: 3 of 4, STOP after 5 ms;
    one_of_four_stopped_after_50_ms: 2 of 4, STOP after 50 ms;
}
