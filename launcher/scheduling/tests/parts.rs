//! Jobs that name their devices pool by pool get exactly these, whatever the strategy.
#![expect(clippy::unwrap_used, reason = "helpers of tests, which clippy takes for other code")]

use std::sync::Arc;

use hcrun_protocol::ZoneId;
use hcrun_protocol::cluster::{Cluster, Pool};
use hcrun_protocol::ids::PoolId;
use hcrun_protocol::prng::Prng;
use hcrun_protocol::time::{Span, Time};
use hcrun_scheduling::fleet::PoolIndex;
use hcrun_scheduling::job::Class;
use hcrun_scheduling::simulator::{Checks, Course, Observer, observe, simulate, until};
use hcrun_scheduling::strategy::Action;
use hcrun_scheduling::{Decision, Fleet, JobSpec, State, Workload, strategies};

/// Pools of 2 x 2 and 1 x 3 devices.
fn fleet() -> Arc<Fleet> {
    let mut cluster = Cluster::local();
    let zone = |name: &str| ZoneId::new(name).unwrap();
    for (pool, (name, slots, per_node)) in cluster.pools.iter_mut().zip([("private", 4, 2), ("public", 3, 3)])
    {
        *pool = Pool {
            name: PoolId::new(name).unwrap(),
            zone: zone(name),
            slots,
            devices_per_node: Some(per_node),
            ..pool.clone()
        };
    }
    Arc::new(Fleet::of(&cluster).unwrap())
}

fn workload(seed: u64) -> Workload {
    let mut random = Prng::keyed(&[seed, 2]);
    let mut below = |bound: u64| u32::try_from(random.below(bound)).unwrap();
    let jobs = (0..20).map(|index| {
        let mut parts = vec![(PoolIndex(0), below(5)), (PoolIndex(1), below(4))];
        parts.retain(|(_, devices)| *devices > 0);
        let submit = Time(u64::from(below(10)) * 1_000_000);
        let runs = Span(1 + u64::from(below(20_000_000)));
        let mut job = match parts.is_empty() {
            true => JobSpec::rigid(format!("j{index}"), submit, 1 + below(7), runs),
            false => JobSpec::in_parts(format!("j{index}"), submit, parts, runs),
        };
        job.class = Class::ALL[below(3) as usize];
        job.stop_overhead = Span(u64::from(below(2)) * 700_000);
        job
    });
    Workload::new(jobs.collect()).unwrap()
}

#[derive(Default)]
struct Placements(usize);

impl Observer for Placements {
    fn decided(&mut self, state: &State, decisions: &[Decision]) {
        for decision in decisions {
            let (Action::Start(allocation) | Action::Move(allocation)) = &decision.action else { continue };
            for (pool, wanted) in &state.job(decision.job).spec.parts {
                let here =
                    allocation.parts().iter().filter(|(node, _)| state.fleet.node(*node).pool == *pool);
                assert_eq!(here.map(|part| part.1).sum::<u32>(), *wanted);
                self.0 += 1;
            }
            assert_eq!(allocation.devices(), state.job(decision.job).spec.devices.requested);
        }
    }
}

/// Those say so and refuse a job that names devices of several pools.
fn keeps_gangs_in_one_pool(strategy: &str) -> bool {
    let joint = ["makespan", "cost-slo", "ftf", "demand", "sia", "hybrid"];
    strategy.starts_with("max-min") || joint.contains(&strategy)
}

#[test]
fn every_strategy_places_exactly_the_parts_that_a_job_names() {
    for strategy in strategies::ALL {
        let mut placements = Placements::default();
        for seed in 0..60 {
            let mut made = strategies::by_name(strategy.name).unwrap();
            let outcome = observe(&fleet(), workload(seed), &mut made, Checks::Everything, &mut placements)
                .unwrap_or_else(|error| panic!("{} {seed}: {error}", strategy.name));
            let workload = workload(seed);
            for (job, spec) in outcome.jobs.iter().zip(workload.jobs()) {
                assert!(job.end.is_some(), "{} {seed}", strategy.name);
                let largest = u32::try_from(
                    fleet()
                        .pool_indices()
                        .map(|pool| fleet().devices_in([pool].into_iter().collect()))
                        .max()
                        .unwrap(),
                )
                .unwrap();
                let in_several = spec.parts.len() > 1 || spec.devices.requested > largest;
                assert_eq!(job.refused, in_several && keeps_gangs_in_one_pool(strategy.name), "{}", spec.id);
            }
        }
        let enough = if keeps_gangs_in_one_pool(strategy.name) { 60 } else { 60 * 15 };
        assert!(placements.0 > enough, "{}: {}", strategy.name, placements.0);
    }
}

/// Both ask for 4 devices of the same pools; only one of them fits beside what runs.
#[test]
fn a_job_is_not_passed_over_for_one_with_other_parts() {
    let job = |id: &str, at, private, public| {
        let parts = vec![(PoolIndex(0), private), (PoolIndex(1), public)];
        JobSpec::in_parts(id, Time(at), parts, Span::from_secs(100))
    };
    let jobs = vec![job("runs", 0, 2, 0), job("waits", 1, 3, 1), job("fits", 1, 1, 3)];
    let jobs = jobs.into_iter().map(|mut job| {
        job.parts.retain(|(_, devices)| *devices > 0);
        job
    });
    let mut skip = strategies::by_name("fifo-skip").unwrap();
    let workload = Workload::new(jobs.collect()).unwrap();
    let outcome = simulate(&fleet(), workload, &mut skip, Checks::Everything).unwrap();
    let starts: Vec<u64> = outcome.jobs.iter().map(|job| job.first_start.unwrap().0).collect();
    assert_eq!(starts, [0, 100_000_001, 1]);
}

#[test]
fn parts_that_no_pool_has_are_refused_by_name() {
    let job = |id: &str, parts| JobSpec::in_parts(id, Time::ZERO, parts, Span::from_secs(1));
    let jobs = vec![
        job("fits", vec![(PoolIndex(0), 4), (PoolIndex(1), 3)]),
        job("too-many-there", vec![(PoolIndex(0), 1), (PoolIndex(1), 4)]),
        job("no-such-pool", vec![(PoolIndex(7), 1)]),
    ];
    for strategy in strategies::ALL {
        let mut made = strategies::by_name(strategy.name).unwrap();
        let workload = Workload::new(jobs.clone()).unwrap();
        let outcome = simulate(&fleet(), workload, &mut made, Checks::Everything).unwrap();
        let refused: Vec<bool> = outcome.jobs.iter().map(|job| job.refused).collect();
        assert_eq!(refused, [keeps_gangs_in_one_pool(strategy.name), true, true], "{}", strategy.name);
    }
}

/// Nobody waits for a moment at which there is nothing to take.
#[test]
fn only_a_lower_class_is_waited_for() {
    let job = |id: &str, submit, class| {
        let mut job = JobSpec::in_parts(id, Time(submit), vec![(PoolIndex(0), 4)], Span::from_secs(9_000));
        job.class = class;
        job
    };
    let wake = |waiting| {
        let workload = Workload::new(vec![job("runs", 0, Class::Normal), job("waits", 1, waiting)]).unwrap();
        let mut priority = strategies::by_name("priority").unwrap();
        let course = Course::default();
        let state = until(&fleet(), &course, workload, &mut priority, Time(1)).unwrap();
        priority.next_wake(&state)
    };
    assert_eq!(wake(Class::Normal), None);
    assert_eq!(wake(Class::Guaranteed), Some(Time(600_000_000)));
}

/// A job displaces lower classes only, so none is displaced by one that it has displaced or could.
#[test]
fn classes_displaces_lower_classes_alone_and_never_a_guaranteed_job() {
    #[derive(Default)]
    struct Displaced(usize);
    impl Observer for Displaced {
        fn decided(&mut self, state: &State, decisions: &[Decision]) {
            let class = |decision: &Decision| state.job(decision.job).spec.class;
            let stops: Vec<_> = decisions.iter().filter(|decision| decision.action == Action::Stop).collect();
            let starts = decisions.iter().filter(|decision| matches!(decision.action, Action::Start(_)));
            let highest = starts.map(class).max();
            for stop in &stops {
                assert!(class(stop) < Class::Guaranteed && Some(class(stop)) < highest);
            }
            self.0 += stops.len();
        }
    }
    let mut displaced = Displaced::default();
    for seed in 0..60 {
        let mut classes = strategies::by_name("classes").unwrap();
        observe(&fleet(), workload(seed), &mut classes, Checks::Everything, &mut displaced).unwrap();
    }
    assert!(displaced.0 > 50, "{}", displaced.0);
}

/// Enough devices are free, and not those that it names.
#[test]
fn what_a_job_in_parts_waits_for_is_named_by_pool() {
    let job = |id: &str, parts: &[(u8, u32)], seconds| {
        let parts = parts.iter().map(|(pool, devices)| (PoolIndex(*pool), *devices)).collect();
        JobSpec::in_parts(id, Time::ZERO, parts, Span::from_secs(seconds))
    };
    let jobs =
        vec![job("north", &[(0, 2)], 10), job("south", &[(1, 3)], 30), job("waits", &[(0, 2), (1, 1)], 5)];
    let mut strategy = strategies::by_name("fifo-skip").unwrap();
    let workload = Workload::new(jobs).unwrap();
    let state = until(&fleet(), &Course::default(), workload, &mut strategy, Time(1_000_000)).unwrap();
    let why = strategy.why(&state, hcrun_scheduling::JobIndex(2));
    assert_eq!(why.answer.to_string(), "it needs 1 device of pool `public`, of which 0 are free");
    let enough = why.enough_free.unwrap();
    assert_eq!((enough.in_s, enough.after.as_str()), (29.0, "south"));
    assert!(why.pools.iter().map(|pool| pool.free).sum::<u64>() >= 2);
}
