//! Gavel's evaluation on 36 V100s, 36 P100s and 36 K80s: mean completion time of jobs 4,000 to 5,000 in hours, beside the
//! mean time of the same jobs alone on a V100.
//!
//! ```text
//! cargo run --release -p hcrun-scheduling --example gavel -- TABLE [rate=4] [seeds=5] [multi=false] [devices=36] [strategies=a,b]
//! ```
//!
//! `devices` is how many there are of each model; give a rate that fits them.
//!
//! At 4 jobs an hour, seeds 0 to 4: `max-min` 16.31 h, `max-min-efficient` 15.67 h, `max-min-blind` 22.85 h. The authors'
//! figures are from seed 0: 16.82 h aware of models and 23.49 h blind; here 16.90 h and 23.38 h.
//!
//! `TABLE` is `simulation_throughputs.json` of stanford-futuredata/gavel. `trace=FILE` runs a trace of Gavel instead of
//! generated workloads.
#![expect(clippy::print_stdout, reason = "an example prints its table")]
#![expect(clippy::disallowed_types, reason = "an example measures how long decisions take")]

use std::sync::Arc;
use std::time::Instant;

use hcrun_protocol::ZoneId;
use hcrun_protocol::cluster::{Terms, Trust, Zone};
use hcrun_protocol::time::Span;
use hcrun_scheduling::fleet::{Kind, Pool, ZoneIndex};
use hcrun_scheduling::simulator::{Checks, Observer, observe};
use hcrun_scheduling::traces::gavel::{self, Settings, Table};
use hcrun_scheduling::{Decision, Fleet, State, Workload, strategies};

type Failure = Box<dyn std::error::Error>;

/// Jobs that are measured: before them the fleet fills up, after them it drains.
const MEASURED: std::ops::Range<usize> = 4_000..5_000;
/// So many come after those that are measured that the load stays as it is until they are done.
const JOBS: u32 = 6_500;

struct Arguments {
    table: String,
    rate: f64,
    seeds: u64,
    multi: bool,
    devices: u32,
    strategies: String,
    trace: Option<String>,
}

fn main() -> Result<(), Failure> {
    let arguments = arguments()?;
    let table = Table::parse(&std::fs::read_to_string(&arguments.table)?)?;
    let fleet = Arc::new(fleet(arguments.devices)?);
    println!(
        "strategy            mean JCT (h)  alone (h)  decision p95 (ms)  max (ms)  mean JCT by seed (h)"
    );
    for name in arguments.strategies.split(',') {
        let mut runs = Vec::new();
        for seed in 0..arguments.seeds {
            let Arguments { rate, multi, .. } = arguments;
            let settings = Settings { rate_per_hour: rate, jobs: JOBS, seed, multi };
            let workload = match &arguments.trace {
                Some(path) => gavel::read(&std::fs::read_to_string(path)?, &table, &fleet.kinds)?,
                None => gavel::generate(&table, &fleet.kinds, &settings)?,
            };
            runs.push(run(&fleet, workload, name)?);
        }
        let mean = |of: fn(&Run) -> f64| runs.iter().map(of).sum::<f64>() / runs.len() as f64;
        let mut decisions: Vec<f64> = runs.iter().flat_map(|run| run.decisions.iter().copied()).collect();
        decisions.sort_by(f64::total_cmp);
        let p95 = decisions[decisions.len() * 95 / 100];
        let longest = decisions[decisions.len() - 1];
        let by_seed: Vec<String> = runs.iter().map(|run| format!("{:.2}", run.hours)).collect();
        let (hours, alone, by_seed) = (mean(|run| run.hours), mean(|run| run.alone), by_seed.join(" "));
        println!("{name:18} {hours:13.2} {alone:10.2} {p95:18.2} {longest:9.1}  {by_seed}");
    }
    Ok(())
}

struct Run {
    /// Mean completion time.
    hours: f64,
    /// Mean time on a V100 of its own.
    alone: f64,
    /// How long each decision took, in ms.
    decisions: Vec<f64>,
}

fn run(fleet: &Arc<Fleet>, workload: Workload, name: &str) -> Result<Run, Failure> {
    let mut strategy = strategies::by_name(name).ok_or_else(|| format!("no strategy {name}"))?;
    let alone: Vec<f64> = workload.jobs().iter().map(|job| job.work.as_secs_f64() / 3_600.0).collect();
    let mut stopwatch = Stopwatch { started: Instant::now(), decisions: Vec::new() };
    let outcome = observe(fleet, workload, &mut strategy, Checks::Totals, &mut stopwatch)?;
    let measured = if outcome.jobs.len() < MEASURED.end { 0..outcome.jobs.len() } else { MEASURED };
    let times = outcome.jobs[measured.clone()].iter().filter_map(|job| job.completion_time());
    let count = measured.len() as f64;
    let hours = times.map(|time| time.as_secs_f64() / 3_600.0).sum::<f64>() / count;
    let alone = alone[measured].iter().sum::<f64>() / count;
    Ok(Run { hours, alone, decisions: stopwatch.decisions })
}

struct Stopwatch {
    started: Instant,
    decisions: Vec<f64>,
}

impl Observer for Stopwatch {
    fn deciding(&mut self, _state: &State) {
        self.started = Instant::now();
    }

    fn decided(&mut self, _state: &State, _decisions: &[Decision]) {
        self.decisions.push(self.started.elapsed().as_secs_f64() * 1e3);
    }
}

/// As its authors' simulator: no topology, so all devices of a model are one node.
fn fleet(devices: u32) -> Result<Fleet, Failure> {
    let zone = Zone::new(ZoneId::new("lab")?, Trust::Private, "us");
    let kinds = ["v100", "p100", "k80"].map(str::to_owned);
    let pools = (0u8..).zip(&kinds).map(|(kind, name)| Pool {
        name: name.clone(),
        zone: ZoneIndex(0),
        kind: Kind(kind),
        terms: Terms::Private,
        nodes: 1,
        devices_per_node: devices,
        provisioning: Span(0),
    });
    let pools = pools.collect();
    Ok(Fleet::new(vec![zone], kinds.to_vec(), pools)?)
}

fn arguments() -> Result<Arguments, Failure> {
    let mut given = std::env::args().skip(1);
    let table = given.next().ok_or("the throughput table is missing: see the head of this file")?;
    let strategies = "max-min,max-min-efficient,max-min-blind".to_owned();
    let mut arguments =
        Arguments { table, rate: 4.0, seeds: 5, multi: false, devices: 36, strategies, trace: None };
    for argument in given {
        match argument.split_once('=') {
            Some(("rate", rate)) => arguments.rate = rate.parse()?,
            Some(("seeds", seeds)) => arguments.seeds = seeds.parse()?,
            Some(("multi", multi)) => arguments.multi = multi.parse()?,
            Some(("devices", devices)) => arguments.devices = devices.parse()?,
            Some(("strategies", names)) => arguments.strategies = names.to_owned(),
            Some(("trace", path)) => arguments.trace = Some(path.to_owned()),
            _ => return Err(format!("`{argument}` is not understood").into()),
        }
    }
    Ok(arguments)
}
