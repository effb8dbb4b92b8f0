//! Random programs: lists of collectives, begun in another order on each rank, against a model in memory.
//!
//! A failure prints the shrunk program and its seed. One seed again:
//! `PROGRAM_SEED=17 cargo test -p hcrun-tests --test collectives programs`.

use std::cell::RefCell;
use std::env;

use hcrun_kernels::host_buffers::HostBuffers;
use hcrun_net::collective::{Options, Pending};
use hcrun_protocol::dtype::{DType, ReduceOp};
use hcrun_protocol::job::Algorithm;
use hcrun_protocol::prng::hash64;
use hcrun_protocol::{Rank, Span};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

use crate::ranks::{Comm, Ranks};
use crate::values::{Value, all_operations, combined, contribution, first_difference, with_type};

#[derive(Debug, Clone)]
struct Step {
    kind: Kind,
    operation: (DType, ReduceOp),
    elems: usize,
    algorithm: Option<Algorithm>,
    tagged: bool,
    in_place: bool,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    AllReduce,
    ReduceScatter,
    AllGather,
    Broadcast { root: usize },
}

#[derive(Debug, Clone)]
struct Program {
    ranks: usize,
    steps: Vec<Step>,
    /// Of the values, and of the order in which each rank begins.
    seed: u64,
}

fn programs() -> impl Strategy<Value = Program> {
    let step = |ranks: usize| {
        let kind = prop_oneof![
            4 => Just(Kind::AllReduce),
            1 => Just(Kind::ReduceScatter),
            1 => Just(Kind::AllGather),
            1 => (0..ranks).prop_map(|root| Kind::Broadcast { root }),
        ];
        let elems = prop_oneof![3 => 0..20_usize, 3 => 0..2_000_usize, 1 => 0..60_000_usize];
        let algorithm = prop::sample::select(vec![
            None,
            Some(Algorithm::Ring),
            Some(Algorithm::Direct),
            Some(Algorithm::OneShot),
        ]);
        let operation = prop::sample::select(all_operations());
        (kind, operation, elems, algorithm, any::<bool>(), any::<bool>()).prop_map(
            |(kind, operation, elems, algorithm, tagged, in_place)| {
                // Rings do not sum types that would round on the way.
                let ring = algorithm == Some(Algorithm::Ring) && operation.0.is_half();
                let algorithm = algorithm.filter(|_| !ring);
                Step { kind, operation, elems, algorithm, tagged, in_place }
            },
        )
    };
    (2..=4_usize, any::<u64>()).prop_flat_map(move |(ranks, seed)| {
        prop::collection::vec(step(ranks), 1..24).prop_map(move |steps| Program { ranks, steps, seed })
    })
}

impl Program {
    /// Steps with tags in any order; the others, which are matched by their order, among themselves as listed.
    fn order(&self, rank: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.steps.len()).collect();
        order.sort_by_key(|index| hash64(&[self.seed, rank as u64, *index as u64]));
        let mut untagged = (0..self.steps.len()).filter(|index| !self.steps[*index].tagged);
        for place in &mut order {
            if !self.steps[*place].tagged {
                *place = untagged.next().unwrap();
            }
        }
        order
    }

    fn options(&self, index: usize) -> Options {
        let step = &self.steps[index];
        let tag = step.tagged.then(|| u32::try_from(index).unwrap() + 1);
        let deadline = Span::from_secs(30);
        Options { tag, algorithm: step.algorithm, deadline, ..Options::default() }
    }

    fn given<T: Value>(&self, index: usize, rank: usize) -> Vec<T> {
        let step = &self.steps[index];
        contribution(hash64(&[self.seed, index as u64]), step.operation.1, rank, step.elems)
    }

    fn begin<T: Value>(
        &self,
        comm: &Comm,
        index: usize,
        rank: usize,
    ) -> Result<Pending<HostBuffers>, String> {
        let step = &self.steps[index];
        let given = self.given::<T>(index, rank);
        let output = vec![T::default(); given.len()];
        let buffers =
            if step.in_place { HostBuffers::new(given) } else { HostBuffers::out_of_place(given, output) };
        let (buffers, options) = (buffers.op(step.operation.1), self.options(index));
        let begun = match step.kind {
            Kind::AllReduce => comm.all_reduce(buffers, &options),
            Kind::ReduceScatter => comm.reduce_scatter(buffers, &options),
            Kind::AllGather => comm.all_gather(buffers, &options),
            Kind::Broadcast { root } => comm.broadcast(Rank::from_index(root), buffers, &options),
        };
        begun.map_err(|error| format!("step {index}: {error}"))
    }

    /// What is wrong with a result.
    fn check<T: Value>(
        &self,
        comm: &Comm,
        index: usize,
        rank: usize,
        result: HostBuffers,
    ) -> Result<(), String> {
        let step = &self.steps[index];
        let parts = result.into_parts::<T>().unwrap();
        let given: Vec<Vec<T>> = (0..self.ranks).map(|rank| self.given(index, rank)).collect();
        let part = comm.part(step.elems, step.operation.0, &self.options(index)).unwrap();
        let whole = Vec::from_iter(std::iter::once(0..step.elems));
        let (expected, ranges) = match step.kind {
            Kind::AllReduce => (combined(&given, step.operation.1), whole),
            Kind::ReduceScatter => (combined(&given, step.operation.1), part),
            // The own part; who owns the rest, the matrix checks.
            Kind::AllGather => (given[rank].clone(), part),
            Kind::Broadcast { root } => (given[root].clone(), whole),
        };
        for range in ranges {
            if let Some(at) = first_difference(&parts.result[range.clone()], &expected[range.clone()]) {
                return Err(format!("step {index}, rank {rank}: element {} differs", range.start + at));
            }
        }
        let changed = parts.input.and_then(|input| first_difference(&input, &given[rank]));
        changed.map_or(Ok(()), |at| Err(format!("step {index}, rank {rank}: input {at} is changed")))
    }

    fn run(&self, ranks: &Ranks) -> Result<(), String> {
        let outcomes = ranks.each(|rank, comm| {
            let begin = |index: usize| {
                let dtype = self.steps[index].operation.0;
                with_type!(dtype, T => self.begin::<T>(comm, index, rank)).map(|pending| (index, pending))
            };
            let begun = self.order(rank).into_iter().map(begin).collect::<Result<Vec<_>, _>>()?;
            for (index, pending) in begun {
                let result = pending.wait().map_err(|error| format!("step {index}: {error:?}"))?;
                let dtype = self.steps[index].operation.0;
                with_type!(dtype, T => self.check::<T>(comm, index, rank, result))?;
            }
            Ok(())
        });
        outcomes.into_iter().collect()
    }
}

#[test]
fn random_programs_agree_with_the_model() {
    let number = |name: &str| env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let (first, seeds) = match (number("PROGRAM_SEED"), number("HCRUN_MATRIX")) {
        (Some(seed), _) => (seed, 1),
        (None, Some(_)) => (0, 40),
        (None, None) => (0, 2),
    };
    let worlds: RefCell<Vec<Option<Ranks>>> = RefCell::new((0..5).map(|_| None).collect());
    for seed in first..first + seeds {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        let config =
            Config { cases: 20, failure_persistence: None, max_shrink_iters: 200, ..Config::default() };
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &key);
        let outcome = TestRunner::new_with_rng(config, rng).run(&programs(), |program| {
            let mut worlds = worlds.borrow_mut();
            let world = &mut worlds[program.ranks];
            let result = program.run(world.get_or_insert_with(|| Ranks::new(program.ranks, 2)));
            if result.is_err() {
                // After a failure none of its collectives can succeed.
                *world = None;
            }
            result.map_err(TestCaseError::fail)
        });
        if let Err(error @ (TestError::Fail(..) | TestError::Abort(_))) = outcome {
            panic!("PROGRAM_SEED={seed}: {error}");
        }
    }
}
