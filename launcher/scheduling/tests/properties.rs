//! What holds for every strategy on every workload: nothing is lost, nothing is made up, and it comes to its end.
#![expect(clippy::unwrap_used, reason = "helpers of tests, which clippy takes for other code")]

use std::sync::Arc;

use hcrun_protocol::prng::Prng;
use hcrun_protocol::time::{Span, Time};
use hcrun_scheduling::simulator::{Checks, Outcome, simulate};
use hcrun_scheduling::{Fleet, JobSpec, Workload, strategies};

/// Fleets of one node and of several, and gangs from one device to all of them.
fn case(seed: u64) -> (Arc<Fleet>, Workload) {
    let mut random = Prng::keyed(&[seed, 1]);
    let mut below = |bound: u64| u32::try_from(random.below(bound)).unwrap();
    let (nodes, per_node) = (1 + below(5), 1 + below(8));
    let fleet = Fleet::uniform(nodes, per_node).unwrap();
    let jobs = (0..1 + below(40)).map(|index| {
        let submit = Time(u64::from(below(20)) * 1_000_000);
        let devices = 1 + below(u64::from(nodes * per_node));
        let mut job =
            JobSpec::rigid(format!("j{index}"), submit, devices, Span(u64::from(below(30_000_000))));
        job.start_overhead = Span(u64::from(below(2)) * u64::from(below(1_000_000)));
        job
    });
    (Arc::new(fleet), Workload::new(jobs.collect()).unwrap())
}

fn run(name: &str, seed: u64) -> Outcome {
    let (fleet, workload) = case(seed);
    let mut strategy = strategies::by_name(name).unwrap();
    simulate(&fleet, workload, &mut strategy, Checks::Everything)
        .unwrap_or_else(|error| panic!("{name} {seed}: {error}"))
}

#[test]
fn every_job_is_done_and_all_counts_add_up() {
    for strategy in strategies::ALL {
        for seed in 0..150 {
            let outcome = run(strategy.name, seed);
            assert!(
                outcome.jobs.iter().all(|job| job.end.is_some() && !job.refused),
                "{} {seed}",
                strategy.name
            );
            assert_eq!(outcome.violations, 0);
        }
    }
}

#[test]
fn the_same_inputs_give_the_same_outcome() {
    for strategy in strategies::ALL {
        for seed in 0..10 {
            assert_eq!(run(strategy.name, seed), run(strategy.name, seed), "{} {seed}", strategy.name);
        }
    }
}

#[test]
fn what_can_never_run_is_refused_with_the_largest_request_that_could() {
    let fleet = Arc::new(Fleet::uniform(2, 4).unwrap());
    for strategy in strategies::ALL {
        let job = |id: &str, devices| JobSpec::rigid(id, Time::ZERO, devices, Span::from_secs(1));
        let workload = Workload::new(vec![job("too-large", 9), job("fits", 8)]).unwrap();
        let mut made = strategies::by_name(strategy.name).unwrap();
        let outcome = simulate(&fleet, workload, &mut made, Checks::Everything).unwrap();
        assert_eq!((outcome.jobs[0].refused, outcome.jobs[1].refused), (true, false), "{}", strategy.name);
    }
}
