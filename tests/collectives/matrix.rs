//! Every collective over types, operations, ranks, lengths, placements, segments, lanes and algorithms.
//!
//! Data are whole numbers, so that results are compared to a plain loop without tolerance. The product of the
//! axes has two and a half million cases. A hash of the case draws which of them run: one in `HCRUN_MATRIX`, on
//! every number of ranks and lanes (`cargo xtask matrix`), or by default so few that they take seconds.

use std::env;
use std::ops::Range;

use hcrun_kernels::host_buffers::HostBuffers;
use hcrun_net::collective::{CallError, Options};
use hcrun_protocol::dtype::{Codec, DType, ReduceOp};
use hcrun_protocol::job::Algorithm;
use hcrun_protocol::prng::hash64;
use hcrun_protocol::{Rank, Span};

use crate::ranks::{Comm, Ranks};
use crate::values::{Value, all_operations, combined, contribution, first_difference, hash, with_type};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    AllReduce,
    ReduceScatter,
    AllGather,
    /// From the rank of this index.
    Broadcast(usize),
}

#[derive(Debug, Clone, Copy)]
struct Case {
    seed: u64,
    kind: Kind,
    dtype: DType,
    op: ReduceOp,
    elems: usize,
    algorithm: Option<Algorithm>,
    segment_bytes: usize,
    in_place: bool,
}

const RANKS: [usize; 13] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 13, 16, 24, 32];
const SEGMENTS: [usize; 3] = [128, 64 << 10, 1 << 20];
const ALGORITHMS: [Option<Algorithm>; 4] =
    [Some(Algorithm::Ring), Some(Algorithm::Direct), Some(Algorithm::OneShot), None];
/// Besides those next to the number of ranks. Of the primes 97 and 7919 are below, 104729 above a segment.
const ELEMS: [usize; 21] = [
    0, 1, 2, 3, 10, 64, 97, 100, 273, 1_000, 1_024, 1_025, 7_919, 10_000, 65_535, 65_536, 104_729, 123_567,
    123_570, 203_530, 262_144,
];
/// Cases of more segments than this, all links together, take seconds each and show nothing else.
const SEGMENT_LIMIT: usize = 20_000;
/// Links of one group. One process greets them all at once: more take long and show nothing else.
const LINK_LIMIT: usize = 500;
const DEADLINE: Span = Span::from_secs(120);

/// How many cases one of is run: `None` for a run of the ordinary tests.
fn one_in() -> Option<u64> {
    env::var("HCRUN_MATRIX").ok().map(|text| text.parse().expect("HCRUN_MATRIX is a number"))
}

impl Case {
    fn options(&self) -> Options {
        Options {
            algorithm: self.algorithm,
            segment_bytes: Some(self.segment_bytes),
            deadline: DEADLINE,
            ..Options::default()
        }
    }

    fn segments(&self, ranks: usize) -> usize {
        let each = (self.elems * self.dtype.bytes()).div_ceil(self.segment_bytes) + ranks;
        // One-shot sends the whole from each to each, the others parts.
        let links = if self.algorithm == Some(Algorithm::OneShot) { ranks * (ranks - 1) } else { 2 * ranks };
        each * links
    }

    fn is_refused(&self) -> bool {
        let combines = matches!(self.kind, Kind::AllReduce | Kind::ReduceScatter);
        self.algorithm == Some(Algorithm::Ring) && self.dtype.is_half() && combines
    }
}

/// All cases of a group, in a fixed order.
fn cases(ranks: usize, lanes: usize) -> Vec<Case> {
    let mut elems = Vec::from(ELEMS);
    elems.extend([ranks.saturating_sub(1), ranks, ranks + 1]);
    elems.sort_unstable();
    elems.dedup();
    let kinds = [
        Kind::AllReduce,
        Kind::ReduceScatter,
        Kind::AllGather,
        Kind::Broadcast(0),
        Kind::Broadcast(ranks / 2),
        Kind::Broadcast(ranks - 1),
    ];
    let mut cases = Vec::new();
    for kind in kinds {
        for (dtype, op) in all_operations() {
            // What is only handed on is not combined.
            if matches!(kind, Kind::AllGather | Kind::Broadcast(_)) && op != ReduceOp::Sum {
                continue;
            }
            for algorithm in ALGORITHMS {
                for &elems in &elems {
                    for segment_bytes in SEGMENTS {
                        for in_place in [true, false] {
                            let number = cases.len() as u64;
                            let seed = hash64(&[ranks as u64, lanes as u64, number]);
                            cases.push(Case {
                                seed,
                                kind,
                                dtype,
                                op,
                                elems,
                                algorithm,
                                segment_bytes,
                                in_place,
                            });
                        }
                    }
                }
            }
        }
    }
    cases.retain(|case| case.segments(ranks) <= SEGMENT_LIMIT);
    cases
}

#[test]
fn every_collective_gives_the_result_of_a_plain_loop() {
    // Ranks and lanes, and how many of their cases the ordinary tests run.
    let usual = [
        (1, 1, 40),
        (2, 1, 400),
        (2, 4, 300),
        (3, 1, 400),
        (3, 2, 300),
        (4, 4, 200),
        (5, 1, 200),
        (7, 2, 60),
        (8, 1, 60),
        (13, 1, 20),
        (16, 1, 20),
    ];
    match one_in() {
        None => usual.into_iter().for_each(|(ranks, lanes, count)| {
            let all = cases(ranks, lanes);
            let share = (all.len() as u64 / count).max(1);
            run(ranks, lanes, all.into_iter().filter(|case| case.seed.is_multiple_of(share)));
        }),
        Some(one_in) => RANKS.into_iter().for_each(|ranks| {
            for lanes in [1, 2, 4].into_iter().filter(|lanes| lanes * ranks * (ranks - 1) / 2 <= LINK_LIMIT) {
                let all = cases(ranks, lanes).into_iter();
                run(ranks, lanes, all.filter(|case| case.seed.is_multiple_of(one_in.max(1))));
            }
        }),
    }
}

fn run(count: usize, lanes: usize, cases: impl Iterator<Item = Case>) {
    let ranks = Ranks::new(count, lanes);
    let started = std::time::Instant::now();
    let mut run = 0;
    for case in cases {
        with_type!(case.dtype, T => check::<T>(&ranks, &case));
        run += 1;
        if run % 16 == 0 {
            ranks.each(|_, comm| comm.barrier(&Options::default()).unwrap());
        }
    }
    println!("{count} ranks, {lanes} lanes: {run} cases in {:.1?}", started.elapsed());
}

/// What a rank ends with.
struct Outcome<T> {
    result: Vec<T>,
    input: Option<Vec<T>>,
    part: Vec<Range<usize>>,
}

fn check<T: Value>(ranks: &Ranks, case: &Case) {
    if case.is_refused() {
        let refused = |_: usize, comm: &Comm| {
            let buffers = HostBuffers::new(vec![T::default(); case.elems]).op(case.op);
            let error = comm.all_reduce(buffers, &case.options()).err().unwrap();
            assert!(matches!(error, CallError::RingRounds { .. }), "{case:?}: {error}");
        };
        ranks.each(refused);
        return;
    }
    let count = ranks.count();
    let given: Vec<Vec<T>> =
        (0..count).map(|rank| contribution(case.seed, case.op, rank, case.elems)).collect();
    let outcomes = ranks.each(|rank, comm| collective(comm, case, given[rank].clone()));
    for (rank, outcome) in outcomes.iter().enumerate() {
        if let Some(input) = &outcome.input {
            assert_eq!(first_difference(input, &given[rank]), None, "input of {rank} of {count}: {case:?}");
        }
    }
    let expect = |rank: usize, range: Range<usize>, expected: &[T]| {
        let got = &outcomes[rank].result[range.clone()];
        let difference = first_difference(got, &expected[range]);
        assert_eq!(difference, None, "result of rank {rank} of {count}: {case:?}");
    };
    match case.kind {
        Kind::AllReduce => {
            let expected = combined(&given, case.op);
            (0..count).for_each(|rank| expect(rank, 0..case.elems, &expected));
            assert!(outcomes.iter().all(|outcome| hash(&outcome.result) == hash(&expected)), "{case:?}");
        }
        Kind::ReduceScatter => {
            let expected = combined(&given, case.op);
            whole_is_owned_once(&outcomes, case);
            for (rank, outcome) in outcomes.iter().enumerate() {
                outcome.part.iter().for_each(|range| expect(rank, range.clone(), &expected));
            }
        }
        Kind::AllGather => {
            whole_is_owned_once(&outcomes, case);
            let mut expected = vec![T::default(); case.elems];
            for (given, outcome) in given.iter().zip(&outcomes) {
                let parts = outcome.part.iter().cloned();
                parts.for_each(|part| expected[part.clone()].copy_from_slice(&given[part]));
            }
            (0..count).for_each(|rank| expect(rank, 0..case.elems, &expected));
        }
        Kind::Broadcast(root) => (0..count).for_each(|rank| expect(rank, 0..case.elems, &given[root])),
    }
}

fn whole_is_owned_once<T>(outcomes: &[Outcome<T>], case: &Case) {
    let mut parts: Vec<Range<usize>> = outcomes.iter().flat_map(|outcome| outcome.part.clone()).collect();
    parts.retain(|part| !part.is_empty());
    parts.sort_by_key(|part| part.start);
    let end = parts.iter().fold(0, |end, part| {
        assert_eq!(part.start, end, "{case:?}");
        part.end
    });
    assert_eq!(end, case.elems, "{case:?}");
}

fn collective<T: Value>(comm: &Comm, case: &Case, given: Vec<T>) -> Outcome<T> {
    let options = case.options();
    let output = vec![T::default(); given.len()];
    let buffers =
        if case.in_place { HostBuffers::new(given) } else { HostBuffers::out_of_place(given, output) };
    let buffers = buffers.op(case.op);
    let started = match case.kind {
        Kind::AllReduce => comm.all_reduce(buffers, &options),
        Kind::ReduceScatter => comm.reduce_scatter(buffers, &options),
        Kind::AllGather => comm.all_gather(buffers, &options),
        Kind::Broadcast(root) => comm.broadcast(Rank::from_index(root), buffers, &options),
    };
    let done = started.unwrap_or_else(|error| panic!("{case:?}: {error}")).wait();
    let parts = done.unwrap_or_else(|error| panic!("{case:?}: {error:?}")).into_parts::<T>().unwrap();
    let part = comm.part(case.elems, case.dtype, &options).unwrap();
    assert_eq!(parts.input.is_none(), case.in_place, "{case:?}");
    Outcome { result: parts.result, input: parts.input, part }
}

/// Offsets in bits do not fit in 32 of them. In the complete run alone: it takes 2 GiB of memory.
#[test]
fn a_buffer_of_more_than_four_gigabits_is_reduced() {
    if one_in().is_none() {
        return;
    }
    let ranks = Ranks::new(2, 1);
    let elems = (512 << 20) / 4 + 12_345;
    let sum = |rank: usize, comm: &Comm| {
        let value = |index: usize| u32::try_from(index * (rank + 1)).unwrap();
        let buffers = HostBuffers::new((0..elems).map(value).collect::<Vec<u32>>());
        let options = Options { codec: Codec::None, deadline: Span::from_secs(600), ..Options::default() };
        let result = comm.all_reduce(buffers, &options).unwrap().wait().unwrap().into_vec::<u32>().unwrap();
        let wrong = result.iter().enumerate().position(|(index, sum)| *sum as usize != 3 * index);
        assert_eq!(wrong, None, "rank {rank}");
    };
    ranks.each(sum);
}
