//! Gavel's evaluation on 36 V100s, 36 P100s and 36 K80s: mean completion time of jobs 4,000 to 5,000, in hours.
//!
//! ```text
//! cargo run --release -p hcrun-scheduling --example gavel -- TABLE [rate=4] [seeds=5] [multi=false] [strategies=max-min,max-min-blind]
//! ```
//!
//! `TABLE` is `simulation_throughputs.json` of stanford-futuredata/gavel. `trace=FILE` runs a trace of Gavel instead of
//! generated workloads.
#![expect(clippy::print_stdout, reason = "an example prints its table")]

use std::sync::Arc;
use std::time::Instant;

use hcrun_protocol::ZoneId;
use hcrun_protocol::cluster::{Trust, Zone};
use hcrun_protocol::time::Span;
use hcrun_scheduling::fleet::{Kind, Pool, Terms, ZoneIndex};
use hcrun_scheduling::simulator::{Checks, Outcome, simulate};
use hcrun_scheduling::traces::gavel::{self, Settings, Table};
use hcrun_scheduling::{Fleet, Workload, strategies};

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
    strategies: String,
    trace: Option<String>,
}

fn main() -> Result<(), Failure> {
    let arguments = arguments()?;
    let table = Table::parse(&std::fs::read_to_string(&arguments.table)?)?;
    let fleet = Arc::new(fleet()?);
    println!("strategy        mean JCT (h)   by seed                              wall (s)");
    for name in arguments.strategies.split(',') {
        let (mut means, started) = (Vec::new(), Instant::now());
        for seed in 0..arguments.seeds {
            let Arguments { rate, multi, .. } = arguments;
            let settings = Settings { rate_per_hour: rate, jobs: JOBS, seed, multi };
            let workload = match &arguments.trace {
                Some(path) => gavel::read(&std::fs::read_to_string(path)?, &table, &fleet.kinds)?,
                None => gavel::generate(&table, &fleet.kinds, &settings)?,
            };
            means.push(mean_hours(&fleet, workload, name)?);
        }
        let mean = means.iter().sum::<f64>() / means.len() as f64;
        let by_seed: Vec<String> = means.iter().map(|mean| format!("{mean:.2}")).collect();
        let wall = started.elapsed().as_secs_f64();
        println!("{name:15} {mean:12.2}   {:35} {wall:9.1}", by_seed.join(" "));
    }
    Ok(())
}

fn mean_hours(fleet: &Arc<Fleet>, workload: Workload, name: &str) -> Result<f64, Failure> {
    let mut strategy = strategies::by_name(name).ok_or_else(|| format!("no strategy {name}"))?;
    let outcome: Outcome = simulate(fleet, workload, &mut strategy, Checks::Totals)?;
    let measured = outcome.jobs.get(MEASURED).unwrap_or(&outcome.jobs);
    let hours =
        measured.iter().filter_map(|job| job.completion_time()).map(|time| time.as_secs_f64() / 3_600.0);
    Ok(hours.sum::<f64>() / measured.len() as f64)
}

/// As its authors' simulator: no topology, so all devices of a model are one node.
fn fleet() -> Result<Fleet, Failure> {
    let zone = Zone { name: ZoneId::new("lab")?, trust: Trust::Private, owner: "us".to_owned() };
    let kinds = ["v100", "p100", "k80"].map(str::to_owned);
    let pools = (0u8..).zip(&kinds).map(|(kind, name)| Pool {
        name: name.clone(),
        zone: ZoneIndex(0),
        kind: Kind(kind),
        terms: Terms::Private,
        nodes: 1,
        devices_per_node: 36,
        provisioning: Span(0),
    });
    let pools = pools.collect();
    Ok(Fleet::new(vec![zone], kinds.to_vec(), pools)?)
}

fn arguments() -> Result<Arguments, Failure> {
    let mut given = std::env::args().skip(1);
    let table = given.next().ok_or("the throughput table is missing: see the head of this file")?;
    let strategies = "max-min,max-min-blind".to_owned();
    let mut arguments = Arguments { table, rate: 4.0, seeds: 5, multi: false, strategies, trace: None };
    for argument in given {
        match argument.split_once('=') {
            Some(("rate", rate)) => arguments.rate = rate.parse()?,
            Some(("seeds", seeds)) => arguments.seeds = seeds.parse()?,
            Some(("multi", multi)) => arguments.multi = multi.parse()?,
            Some(("strategies", names)) => arguments.strategies = names.to_owned(),
            Some(("trace", path)) => arguments.trace = Some(path.to_owned()),
            _ => return Err(format!("`{argument}` is not understood").into()),
        }
    }
    Ok(arguments)
}
