//! Ranks that do not call alike, or not at all: an error on every rank, which says who, what and why.

use std::time::{Duration, Instant};

use hcrun_kernels::host_buffers::HostBuffers;
use hcrun_net::LinkLoss;
use hcrun_net::collective::{FailCause, Failed, Options};
use hcrun_net::group::{RoundError, SegmentFault};
use hcrun_protocol::dtype::{Codec, ReduceOp};
use hcrun_protocol::error_chain;
use hcrun_protocol::job::Algorithm;
use hcrun_protocol::{Rank, Span};

use crate::ranks::{Comm, Ranks, each};

const TAG: u32 = 77;
/// Within it everybody knows; a mismatch is found long before.
const DEADLINE: Span = Span::from_secs(20);
const ELEMS: usize = 3_000;

/// Whether a fault is the one that should be found.
type Expected = fn(&SegmentFault) -> bool;
/// What one rank, the last, does differently.
type Call = fn() -> (HostBuffers, Options);

fn usual() -> (HostBuffers, Options) {
    let options = Options {
        tag: Some(TAG),
        deadline: DEADLINE,
        algorithm: Some(Algorithm::Direct),
        segment_bytes: Some(4_096),
        ..Options::default()
    };
    (HostBuffers::new(vec![1.0_f32; ELEMS]), options)
}

fn call(comm: &Comm, (buffers, options): (HostBuffers, Options)) -> Failed<HostBuffers> {
    let pending = comm.all_reduce(buffers, &options).unwrap();
    pending.wait().expect_err("this cannot succeed")
}

fn chain(error: &Failed<HostBuffers>) -> String {
    error_chain(error)
}

#[test]
fn ranks_that_call_differently_all_fail_with_the_cause() {
    let cases: [(&str, Call, Expected); 7] = [
        (
            "elements",
            || (HostBuffers::new(vec![1.0_f32; ELEMS + 1]), usual().1),
            |fault| matches!(fault, SegmentFault::OtherSchedule),
        ),
        (
            "type",
            || (HostBuffers::new(vec![1_i32; ELEMS]), usual().1),
            |fault| matches!(fault, SegmentFault::DType { .. }),
        ),
        (
            "wider type",
            || (HostBuffers::new(vec![1.0_f64; ELEMS]), usual().1),
            |fault| matches!(fault, SegmentFault::DType { .. }),
        ),
        (
            "operation",
            || (usual().0.op(ReduceOp::Max), usual().1),
            |fault| matches!(fault, SegmentFault::Operation { .. }),
        ),
        (
            "algorithm",
            || (usual().0, Options { algorithm: Some(Algorithm::OneShot), ..usual().1 }),
            |fault| matches!(fault, SegmentFault::OtherSchedule),
        ),
        (
            "codec",
            || (usual().0, Options { codec: Codec::Bf16, ..usual().1 }),
            |fault| matches!(fault, SegmentFault::OtherSchedule | SegmentFault::Codec { .. }),
        ),
        (
            "segments",
            || (usual().0, Options { segment_bytes: Some(1_024), ..usual().1 }),
            |fault| matches!(fault, SegmentFault::OtherSchedule),
        ),
    ];
    for count in [2, 3] {
        for (what, differently, expected) in cases {
            let ranks = Ranks::new(count, 1);
            let started = Instant::now();
            let errors = ranks.each(|rank, comm| {
                let last = rank + 1 == count;
                call(comm, if last { differently() } else { usual() })
            });
            assert!(started.elapsed() < Duration::from_micros(DEADLINE.0), "{what}");
            let mut found = 0;
            for (rank, error) in errors.iter().enumerate() {
                let text = chain(error);
                let case = format!("{what}, rank {rank} of {count}: {text}");
                assert_eq!((error.operation, error.tag), ("all-reduce", Some(TAG)), "{case}");
                assert!(text.contains("all-reduce failed (tag 77)"), "{case}");
                assert!(error.peer().is_some(), "{case}");
                match &error.cause {
                    FailCause::Round(RoundError::PeerFault { source, .. }) => {
                        assert!(expected(source), "{case}");
                        found += 1;
                    }
                    // Who heard of it says what was heard.
                    FailCause::Round(RoundError::GaveUp { reason, .. }) => {
                        assert!(!reason.is_empty(), "{case}")
                    }
                    // The one at fault may see its link closed for it.
                    FailCause::Round(RoundError::PeerLost { source, .. }) => {
                        let LinkLoss::ClosedByPeer { reason, .. } = source else { panic!("{case}") };
                        assert!(!reason.is_empty(), "{case}");
                    }
                    _ => panic!("{case}"),
                }
            }
            assert!(found > 0, "{what}: nobody found the fault itself");
        }
    }
}

#[test]
fn collectives_that_differ_are_told_apart() {
    let ranks = Ranks::new(2, 1);
    let errors = ranks.each(|rank, comm| {
        let (buffers, options) = usual();
        let pending = match rank {
            0 => comm.all_reduce(buffers, &options),
            _ => comm.broadcast(Rank(1), buffers, &options),
        };
        pending.unwrap().wait().err()
    });
    // The root of a broadcast waits for nobody, so it may have ended by then.
    let error = errors[0].as_ref().unwrap();
    assert_eq!(error.peer(), Some(Rank(1)), "{}", chain(error));
}

#[test]
fn a_rank_that_never_calls_is_named_at_the_deadline() {
    for algorithm in [Algorithm::Direct, Algorithm::Ring, Algorithm::OneShot] {
        let ranks = Ranks::new(3, 1);
        let deadline = Span::from_millis(300);
        let started = Instant::now();
        let errors = each(&ranks.communicators[..2], |_, comm| {
            let (buffers, options) = usual();
            call(comm, (buffers, Options { deadline, algorithm: Some(algorithm), ..options }))
        });
        let took = started.elapsed();
        assert!(took >= Duration::from_millis(300) && took < Duration::from_secs(10), "{took:?}");
        for (rank, error) in errors.iter().enumerate() {
            let text = chain(error);
            let late = matches!(
                &error.cause,
                FailCause::Round(RoundError::PeerLate { .. } | RoundError::GaveUp { .. })
            );
            assert!(late, "{algorithm:?}, rank {rank}: {text}");
            // In a ring a rank hears of its neighbour alone, which may itself wait for the silent one.
            let neighbour = algorithm == Algorithm::Ring && rank == 1 && error.peer() == Some(Rank(0));
            assert!(neighbour || error.peer() == Some(Rank(2)), "{algorithm:?}, rank {rank}: {text}");
            assert!(text.contains("all-reduce") && text.contains("77"), "{text}");
        }
        // Who comes too late hears the same.
        let (buffers, options) = usual();
        let options = Options { algorithm: Some(algorithm), ..options };
        let late = call(&ranks.communicators[2], (buffers, options));
        assert!(matches!(&late.cause, FailCause::Round(RoundError::GaveUp { .. })), "{}", chain(&late));
    }
}

#[test]
fn a_failed_call_gives_the_buffer_back_where_that_was_asked_for() {
    let ranks = Ranks::new(2, 1);
    let comm = &ranks.communicators[0];
    let given: Vec<f32> = (0_u16..3_000).map(f32::from).collect();
    let options = Options { preserve: true, deadline: Span::from_millis(50), ..Options::default() };
    assert_eq!(comm.group().counters().preserved_bytes(), 0);
    let failed = call(comm, (HostBuffers::new(given.clone()), options.clone()));
    assert_eq!(failed.preserved.unwrap().into_vec::<f32>().unwrap(), given);
    assert_eq!(comm.group().counters().preserved_bytes(), 12_000);
    let failed = call(comm, (HostBuffers::new(given), Options { preserve: false, ..options }));
    assert!(failed.preserved.is_none());
    assert_eq!(comm.group().counters().preserved_bytes(), 12_000);
}

#[test]
fn a_group_is_formed_anew_without_the_lost_rank() {
    let sum = |comm: &Comm| {
        let pending = comm.all_reduce(HostBuffers::new(vec![1_u32; 5_000]), &Options::default()).unwrap();
        pending.wait().map(|buffers| buffers.into_vec::<u32>().unwrap())
    };
    for lost in 0..3 {
        let mut ranks = Ranks::new(3, 2);
        assert!(ranks.each(|_, comm| sum(comm).unwrap()).iter().flatten().all(|sum| *sum == 3));
        drop(ranks.communicators.remove(lost));
        for error in ranks.each(|_, comm| sum(comm).err().unwrap()) {
            assert_eq!(error.peer(), Some(Rank::from_index(lost)), "{}", chain(&error));
        }
        let ranks = ranks.anew_without(Rank::from_index(lost));
        assert_eq!(ranks.count(), 2);
        let generations = ranks.each(|_, comm| comm.group().generation().0);
        assert_eq!(generations, [2, 2]);
        assert!(ranks.each(|_, comm| sum(comm).unwrap()).iter().flatten().all(|sum| *sum == 2));
    }
}
