//! Where places put gangs.

use std::sync::Arc;

use hcrun_protocol::ZoneId;
use hcrun_protocol::cluster::{Trust, Zone};
use hcrun_protocol::time::{Span, Time};
use hcrun_scheduling::fleet::{Kind, Pool, PoolSet, Terms, ZoneIndex};
use hcrun_scheduling::job::{Shape, Speed, Stretch};
use hcrun_scheduling::simulator::{Checks, simulate};
use hcrun_scheduling::strategies::{self, Balanced, Consolidate, LeastFragment};
use hcrun_scheduling::strategy::{Place, Want};
use hcrun_scheduling::{Fleet, JobIndex, JobSpec, Rate, State, Work, Workload};

/// Twice as fast on the second model.
#[derive(Debug)]
struct Twice;

impl Speed for Twice {
    fn stretch(&self, _done: Work, shape: &Shape) -> Stretch {
        Stretch { rate: Rate(Rate::ONE.0 * (1 + u64::from(shape.kind.0))), until: None }
    }
}

fn gang(id: usize, devices: u32, seconds: u64) -> JobSpec {
    JobSpec::rigid(id.to_string(), Time::ZERO, devices, Span::from_secs(seconds))
}

/// Gangs that are placed one after the other, and where: by node, `-` if it waits.
fn placed(fleet: Fleet, place: &mut dyn Place, jobs: Vec<JobSpec>) -> Vec<String> {
    let count = u32::try_from(jobs.len()).expect("few jobs");
    let mut state = State::new(Arc::new(fleet), Workload::new(jobs).expect("a workload"));
    (0..count).for_each(|index| state.submit(JobIndex(index)));
    let mut start = |index| {
        let job = state.job(index);
        let want = Want { devices: job.spec.devices.requested, pools: PoolSet::ALL.and(job.pools) };
        let allocation = place.place(&state, state.free(), job, &want);
        let Some(allocation) = allocation else { return "-".to_owned() };
        let parts = allocation.parts().iter().map(|(node, devices)| format!("{}:{devices}", node.0));
        let parts: Vec<String> = parts.collect();
        state.start(index, allocation);
        state.check();
        parts.join(" ")
    };
    (0..count).map(|index| start(JobIndex(index))).collect()
}

#[test]
fn consolidation_keeps_a_gang_on_one_node_or_on_whole_ones() {
    let jobs = [6, 6, 4, 8, 2, 9, 4];
    let jobs = (0..).zip(jobs).map(|(id, devices)| gang(id, devices, 60)).collect();
    // The 8 need an idle node and find one; 9 would need another; the last 4 find room on the third.
    let fleet = Fleet::uniform(4, 8).unwrap();
    let expected = ["0:6", "1:6", "2:4", "3:8", "0:2", "-", "2:4"];
    assert_eq!(placed(fleet, &mut Consolidate, jobs), expected);
    let jobs = vec![gang(0, 3, 60), gang(1, 18, 60), gang(2, 5, 60)];
    let fleet = Fleet::uniform(4, 8).unwrap();
    assert_eq!(placed(fleet, &mut Consolidate, jobs), ["0:3", "0:2 2:8 3:8", "1:5"]);
}

#[test]
fn least_is_lost_where_the_rest_is_of_use() {
    // All jobs seen ask for 4 or 1: a single goes beside another, not where it would break up four.
    let jobs = (0..).zip([4, 1, 1, 4, 4, 1]).map(|(id, devices)| gang(id, devices, 60)).collect();
    let fleet = Fleet::uniform(3, 8).unwrap();
    let nodes = placed(fleet, &mut LeastFragment::default(), jobs);
    assert_eq!(nodes[1].split(':').next(), nodes[2].split(':').next(), "{nodes:?}");
    assert!(nodes.iter().all(|node| node != "-" && !node.contains(' ')), "{nodes:?}");
}

fn two_zones() -> Fleet {
    let zone = |name| Zone::new(ZoneId::new(name).expect("a name"), Trust::Private, "us");
    let pool = |index: u8| Pool {
        name: format!("pool {index}"),
        zone: ZoneIndex(index),
        kind: Kind(index),
        terms: Terms::Private,
        nodes: 2,
        devices_per_node: 4,
        provisioning: Span(0),
    };
    let kinds = vec!["slow".to_owned(), "fast".to_owned()];
    Fleet::new(vec![zone("a"), zone("b")], kinds, vec![pool(0), pool(1)]).expect("a fleet")
}

#[test]
fn a_zone_of_twice_the_speed_gets_twice_the_work() {
    let job = |id| JobSpec { speed: Some(Arc::new(Twice)), ..gang(id, 1, 600) };
    for pack in [false, true] {
        let nodes = placed(two_zones(), &mut Balanced { pack }, (0..9).map(job).collect());
        let fast = nodes.iter().filter(|node| node.starts_with(['2', '3'])).count();
        assert_eq!(fast, 6, "pack {pack}: {nodes:?}");
        let on_one = nodes.iter().filter(|node| node.starts_with('2')).count();
        assert_eq!(on_one, if pack { 4 } else { 3 }, "pack {pack}: {nodes:?}");
    }
}

#[test]
fn balance_counts_the_time_left_and_not_the_jobs() {
    let jobs = vec![gang(0, 1, 10_000), gang(1, 1, 100), gang(2, 1, 100), gang(3, 1, 100)];
    let nodes = placed(Fleet::uniform(2, 4).unwrap(), &mut Balanced { pack: false }, jobs);
    assert_eq!(nodes, ["0:1", "1:1", "1:1", "1:1"]);
}

#[test]
fn jobs_of_one_decision_are_balanced_as_well() {
    let job = |id| JobSpec { speed: Some(Arc::new(Twice)), ..gang(id, 1, 600) };
    let workload = Workload::new((0..9).map(job).collect()).unwrap();
    let mut strategy = strategies::by_name("balanced").unwrap();
    let outcome = simulate(&Arc::new(two_zones()), workload, &mut strategy, Checks::Everything).unwrap();
    let slow = outcome.completion_times().iter().filter(|time| **time == Span::from_secs(600)).count();
    assert_eq!(slow, 3);
}

#[test]
fn every_strategy_finishes_on_nodes_and_zones() {
    let mut prng = hcrun_protocol::prng::Prng::new(4);
    for seed in 0..20u64 {
        let job = |id| {
            let mut job = gang(id, [1, 1, 2, 3, 4, 8][id * 7 % 6], 60 + prng.below(4_000));
            job.submit = Time::ZERO + Span::from_secs(prng.below(20_000));
            job.start_overhead = Span::from_secs(prng.below(30));
            job
        };
        let workload = Workload::new((0..80).map(job).collect()).unwrap();
        for about in strategies::ALL {
            for fleet in [two_zones(), Fleet::uniform(3, 4).unwrap()] {
                let mut strategy = strategies::by_name(about.name).unwrap();
                let outcome =
                    simulate(&Arc::new(fleet), workload.clone(), &mut strategy, Checks::Everything).unwrap();
                assert_eq!(outcome.completion_times().len(), 80, "{} {seed}", about.name);
            }
        }
    }
}
