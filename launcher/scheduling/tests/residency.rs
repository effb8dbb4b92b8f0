//! Restricted data stays where its owner put it, whatever fails and whatever the strategy: random fleets, jobs and
//! failures, watched by a checker that knows the rules of residency in its own words.

mod common {
    pub(crate) mod schedules;
    pub(crate) mod watch;
}

use common::schedules::{Case, case};
use common::watch::Watch;
use hcrun_protocol::manifest::Sensitivity;
use hcrun_protocol::time::{Span, Time};
use hcrun_scheduling::free::{Allocation, Free};
use hcrun_scheduling::job::JobSpec;
use hcrun_scheduling::simulator::{Checks, Course, NodeChange, SimulationError, rehearse};
use hcrun_scheduling::state::Job;
use hcrun_scheduling::strategies::{AnyTerms, FitsFleet, Requested, Submission};
use hcrun_scheduling::strategy::{Discipline, Pace, Place, Preemption, Stages, Want};
use hcrun_scheduling::{State, Strategy, Workload, strategies};

const SCHEDULES: u64 = 10_000;

/// Runs a case; what the strategy is told may differ from what the checker knows.
fn watched(case: &Case, told: Vec<JobSpec>, strategy: &mut Strategy) -> Watch {
    let mut watch = Watch::new(&case.jobs);
    let workload = Workload::new(told).expect("jobs are told as they were drawn");
    match rehearse(&case.fleet, &case.course, workload, strategy, Checks::Everything, &mut watch) {
        // What is lost for good is waited for: that is what the rule asks for.
        Ok(_) | Err(SimulationError::Stuck { .. }) => watch,
        Err(error) => panic!("{}: {error}", strategy.name),
    }
}

#[test]
fn no_strategy_moves_data_out_of_its_zones_whatever_fails() {
    let names: Vec<&str> = strategies::ALL.iter().map(|about| about.name).collect();
    let (mut placements, mut losses) = (0, 0);
    for (seed, name) in (0..SCHEDULES).zip(names.iter().cycle()) {
        let case = case(seed);
        let watch = watched(&case, case.jobs.clone(), &mut strategies::by_name(name).unwrap());
        assert!(watch.violations.is_empty(), "seed {seed}, {name}: {:?}", watch.violations);
        placements += watch.guarded_placements;
        losses += watch.losses;
    }
    // Otherwise nothing was shown.
    assert!(placements > SCHEDULES && losses > SCHEDULES / 10, "{placements} placements, {losses} losses");
}

/// A filter that takes `restricted` for `public`.
#[test]
fn a_relaxed_filter_is_caught() {
    let mut caught = 0;
    for seed in 0..100 {
        let case = case(seed);
        let mut told = case.jobs.clone();
        for shard in told.iter_mut().flat_map(|job| &mut job.shards) {
            (shard.sensitivity, shard.allowed_zones) = (Sensitivity::Public, Vec::new());
        }
        let watch = watched(&case, told, &mut strategies::by_name("fifo-skip").unwrap());
        caught += u32::from(!watch.violations.is_empty());
    }
    assert!(caught >= 20, "caught in {caught} of 100 schedules");
}

/// Takes any free node, whatever it was asked for.
#[derive(Debug)]
struct Anywhere;

impl Place for Anywhere {
    fn place(&mut self, state: &State, free: &Free, _job: &Job, want: &Want) -> Option<Allocation> {
        let pools = state.fleet.pool_indices();
        let node = pools.filter_map(|pool| free.best_fit(pool, want.devices)).last()?;
        Some(Allocation::new([(node, want.devices)]))
    }
}

#[test]
#[should_panic(expected = "a job is placed where it may not be")]
fn a_strategy_that_forgets_the_filter_is_stopped() {
    for seed in 0..100 {
        let stages = Stages {
            admit: Box::new(FitsFleet),
            order: Box::new(Submission),
            size: Box::new(Requested),
            place: Box::new(Anywhere),
            mode: Box::new(AnyTerms),
        };
        let mut strategy =
            Strategy::new("anywhere", stages, Discipline::Skip, Preemption::Never, Pace::Events);
        let case = case(seed);
        watched(&case, case.jobs.clone(), &mut strategy);
    }
}

/// Every strategy, while everything else is free and the home of the data is down for a day.
#[test]
fn a_restricted_job_whose_zone_is_down_waits() {
    let hour = |hours: u64| Time(hours * 3_600_000_000);
    for about in strategies::ALL {
        let case = case(1);
        let home = case.fleet.pool_indices().next().unwrap();
        let mut job = JobSpec::rigid("held", hour(0), 1, Span::from_secs(4 * 3_600));
        job.shards = vec![common::schedules::shard(0, Sensitivity::Restricted, "private-0", &[])];
        job.checkpoint_interval = Span::from_secs(600);
        let nodes = case.fleet.nodes_of(home);
        let changes = nodes.flat_map(|node| {
            let up = case.fleet.node(node).devices;
            [(1, 0), (25, up)].map(|(at, devices)| NodeChange {
                at: hour(at),
                node,
                devices,
                notice: Span(0),
            })
        });
        let course = Course::new(&case.fleet, changes.collect()).unwrap();
        let mut watch = Watch::new(std::slice::from_ref(&job));
        let workload = Workload::new(vec![job]).unwrap();
        let mut strategy = strategies::by_name(about.name).unwrap();
        let outcome =
            rehearse(&case.fleet, &course, workload, &mut strategy, Checks::Everything, &mut watch).unwrap();
        assert!(watch.violations.is_empty(), "{}: {:?}", about.name, watch.violations);
        let job = &outcome.jobs[0];
        assert_eq!((job.losses, job.refused), (1, false), "{}", about.name);
        assert!(job.end >= Some(hour(27)), "{}: {:?}", about.name, job.end);
    }
}
