//! The strategies that divide time by linear programs: fairness, conservation, determinism, and Gavel's figures.

mod common;

use std::sync::Arc;

use hcrun_protocol::ZoneId;
use hcrun_protocol::cluster::{Terms, Trust, Zone};
use hcrun_protocol::time::{Span, Time};
use hcrun_scheduling::fleet::{Kind, Pool, ZoneIndex};
use hcrun_scheduling::job::{Shape, Speed, Stretch};
use hcrun_scheduling::simulator::{Checks, Outcome, simulate};
use hcrun_scheduling::traces::gavel::{self, Settings, Table};
use hcrun_scheduling::{Fleet, JobSpec, Rate, Work, Workload, strategies, traces};

const IN_ROUNDS: [&str; 6] = ["max-min", "max-min-efficient", "max-min-blind", "makespan", "cost-slo", "ftf"];
const ROUND: u64 = 360;

/// One pool per model, each of these nodes.
fn fleet(pools: &[(&str, u32, u32)]) -> Arc<Fleet> {
    let zone = Zone::new(ZoneId::new("own").expect("a literal name"), Trust::Private, "us");
    let kinds: Vec<String> = pools.iter().map(|(kind, ..)| (*kind).to_owned()).collect();
    let pool = |(kind, (name, nodes, devices_per_node)): (u8, &(&str, u32, u32))| Pool {
        name: (*name).to_owned(),
        zone: ZoneIndex(0),
        kind: Kind(kind),
        terms: Terms::Private,
        nodes: *nodes,
        devices_per_node: *devices_per_node,
        provisioning: Span(0),
    };
    Arc::new(Fleet::new(vec![zone], kinds, (0..).zip(pools).map(pool).collect()).expect("pools have devices"))
}

/// Rates by model.
#[derive(Debug)]
struct ByKind(Vec<f64>);

impl Speed for ByKind {
    fn stretch(&self, _done: Work, shape: &Shape) -> Stretch {
        Stretch { rate: Rate::from_f64(self.0[usize::from(shape.kind.0)]), until: None }
    }
}

fn job(id: usize, devices: u32, hours: u64, rates: &[f64]) -> JobSpec {
    let duration = Span::from_secs(hours * 3_600);
    let mut job = JobSpec::rigid(id.to_string(), Time(0), devices, duration);
    job.speed = Some(Arc::new(ByKind(rates.to_vec())));
    job
}

fn run(name: &str, fleet: &Arc<Fleet>, jobs: Vec<JobSpec>) -> Outcome {
    let mut strategy = strategies::by_name(name).expect("a known strategy");
    let jobs = Workload::new(jobs).expect("jobs that make sense");
    simulate(fleet, jobs, &mut strategy, Checks::Everything).expect("all jobs end")
}

/// Jobs of three kinds on two models, gangs among them.
fn batch() -> Vec<JobSpec> {
    let rates: [&[f64]; 3] = [&[1.0, 0.2], &[1.0, 0.9], &[0.5, 1.0]];
    let of =
        |index: usize| job(index, [1, 1, 2, 1, 4][index % 5], 1 + index as u64 * 7 % 11, rates[index % 3]);
    (0..40).map(of).collect()
}

#[test]
fn everything_is_conserved_and_the_same_twice() {
    let fleet = fleet(&[("fast", 2, 4), ("slow", 3, 2)]);
    for name in IN_ROUNDS {
        let outcome = run(name, &fleet, batch());
        assert_eq!(outcome.completion_times().len(), 40, "{name}");
        assert_eq!(outcome, run(name, &fleet, batch()), "{name}");
    }
}

#[test]
fn nobody_starves_under_max_min() {
    // 30 jobs of three kinds on three devices, each longer than the time that is looked at.
    let fleet = fleet(&[("fast", 1, 2), ("slow", 1, 1)]);
    let rates: [&[f64]; 3] = [&[1.0, 0.1], &[1.0, 0.9], &[0.3, 1.0]];
    let jobs = || (0..30).map(|index| job(index, 1, 20, rates[index % 3])).collect();
    for name in ["max-min", "max-min-efficient", "max-min-blind", "ftf"] {
        let outcome = run(name, &fleet, jobs());
        let last = outcome.jobs.iter().filter_map(|job| job.first_start).max().unwrap();
        assert!(last <= Time(30 * ROUND * 1_000_000), "{name}: {} s", last.0 / 1_000_000);
    }
}

#[test]
fn equal_jobs_progress_alike() {
    let fleet = fleet(&[("fast", 1, 2), ("slow", 1, 2)]);
    let jobs = || (0..8).map(|index| job(index, 1, 10, &[1.0, 0.5])).collect();
    for name in ["max-min", "max-min-efficient", "ftf", "makespan"] {
        let times = run(name, &fleet, jobs()).completion_times();
        let (first, last) = (times[0].as_secs_f64(), times[7].as_secs_f64());
        assert!(first / last > 0.85, "{name}: {first} and {last}");
    }
}

#[test]
fn makespan_is_not_longer_than_first_come_first_served() {
    let fleet = fleet(&[("fast", 2, 4), ("slow", 3, 2)]);
    let (fair, strict) = (run("makespan", &fleet, batch()), run("fifo-skip", &fleet, batch()));
    assert!(fair.makespan < strict.makespan, "{} and {}", fair.makespan, strict.makespan);
    let best = IN_ROUNDS.map(|name| run(name, &fleet, batch()).makespan);
    // Rounds are coarse: within one of the best.
    let least = *best.iter().min().unwrap();
    assert!(fair.makespan <= least + Span::from_secs(2 * ROUND), "{} and {least}", fair.makespan);
}

#[test]
fn a_deadline_is_met_before_others_get_devices() {
    let fleet = fleet(&[("fast", 1, 1)]);
    let mut jobs: Vec<JobSpec> = (0..4).map(|index| job(index, 1, 2, &[1.0])).collect();
    jobs[3].deadline = Some(Time(3 * 3_600 * 1_000_000));
    let outcome = run("cost-slo", &fleet, jobs);
    assert!(outcome.jobs[3].end.unwrap() <= Time(3 * 3_600 * 1_000_000));
}

#[test]
fn a_gang_larger_than_any_pool_is_refused() {
    let fleet = fleet(&[("fast", 1, 4), ("slow", 2, 4)]);
    let mut slow_only = job(2, 8, 1, &[1.0, 0.0]);
    slow_only.submit = Time(1);
    let outcome =
        run("max-min", &fleet, vec![job(0, 9, 1, &[1.0, 1.0]), job(1, 8, 1, &[1.0, 1.0]), slow_only]);
    let refused: Vec<bool> = outcome.jobs.iter().map(|job| job.refused).collect();
    assert_eq!(refused, [true, false, true]);
}

#[test]
fn a_made_up_workload_runs_under_every_strategy() {
    let fleet = fleet(&[("fast", 2, 8), ("slow", 2, 8)]);
    for about in strategies::ALL {
        let text = "jobs=120,rate=12,burst=4,restricted=0.3,home=own,error=0.3";
        let workload = traces::read("synthetic", text).unwrap();
        let mut strategy = strategies::by_name(about.name).unwrap();
        let outcome = simulate(&fleet, workload, &mut strategy, Checks::Everything).unwrap();
        assert_eq!(outcome.completion_times().len(), 120, "{}", about.name);
    }
}

/// A sample of the evaluation: the whole of it is `examples/gavel.rs`.
#[test]
fn knowing_models_shortens_jobs_by_as_much_as_published() {
    let Some(folder) = common::traces_folder() else { return };
    let path = folder.join("throughputs/gavel_simulation_throughputs.json");
    let table = Table::parse(&std::fs::read_to_string(path).unwrap()).unwrap();
    let fleet = fleet(&[("v100", 1, 36), ("p100", 1, 36), ("k80", 1, 36)]);
    let settings = Settings { rate_per_hour: 4.0, jobs: 700, seed: 0, multi: false };
    // The draws of the published figures.
    let jobs = gavel::generate(&table, &fleet.kinds, &settings).unwrap().into_jobs();
    assert_eq!((jobs[0].model.as_str(), jobs[1].submit), ("ResNet-18 (batch size 64)", Time(244_586_073)));
    assert_eq!(jobs[2].model, "Recommendation (batch size 2048)");
    let mean = |name: &str| {
        let workload = gavel::generate(&table, &fleet.kinds, &settings).unwrap();
        let mut strategy = strategies::by_name(name).unwrap();
        let outcome = simulate(&fleet, workload, &mut strategy, Checks::Totals).unwrap();
        let times = outcome.jobs[200..500].iter().map(|job| job.completion_time().unwrap().as_secs_f64());
        times.sum::<f64>() / 300.0
    };
    // 23.49 h over 16.82 h is 1.40.
    let gain = mean("max-min-blind") / mean("max-min");
    assert!((1.30..1.50).contains(&gain), "{gain}");
}
