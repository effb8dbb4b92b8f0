//! Pollux's eight workloads (16 nodes x 4 T4, 160 jobs in 8 h) under rigid and elastic strategies.
//!
//!     cargo run --release -p hcrun-scheduling --example pollux [STRATEGY...]
//!
//! `HCRUN_TRACES` names the folder of traces.
#![expect(clippy::print_stdout, clippy::unwrap_used, clippy::disallowed_types, reason = "a study, not a part of the crate")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use hcrun_protocol::time::Span;
use hcrun_scheduling::simulator::{Checks, simulate};
use hcrun_scheduling::strategy::Pace;
use hcrun_scheduling::traces::{self, Beside};
use hcrun_scheduling::{Fleet, strategies};

fn main() {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/traces");
    let folder = std::env::var_os("HCRUN_TRACES").map_or(beside, PathBuf::from).join("philly-pollux");
    let mut names: Vec<String> = std::env::args().skip(1).collect();
    if names.is_empty() {
        names = ["las", "demand", "sia"].map(str::to_owned).to_vec();
    }
    let profiles = profiles(&folder.join("profiles"));
    for name in names {
        let begin = Instant::now();
        let (mut means, mut p99, mut makespans, mut starts) = (Vec::new(), Vec::new(), Vec::new(), 0);
        for number in 1..=8 {
            let text = std::fs::read_to_string(folder.join(format!("workloads/workload-{number}.csv"))).unwrap();
            let workload = traces::read_with("pollux", &text, &profiles).unwrap();
            let fleet = Arc::new(Fleet::uniform(16, 4).unwrap());
            let mut strategy = match name.strip_prefix("d:") {
                Some(spec) => {
                    let v: Vec<f64> = spec.split(',').map(|x| x.parse().unwrap()).collect();
                    let weight = match v[4] as u32 { 0 => strategies::Weight::Equal, 1 => strategies::Weight::Attained { scale: Span::from_secs(v[2] as u64), power: v[1] }, _ => strategies::Weight::Left { power: v[1] } };
                    let tuning = strategies::Tuning { fairness: v[0], weight, horizon: Span::from_secs(v[3] as u64), prices: vec![] };
                    let pace = if v[5] > 0.0 { Pace::Rounds(Span::from_secs(60)) } else { Pace::EventsAndRounds(Span::from_secs(60)) };
                    strategies::elastic_with("demand", strategies::Demand::new(tuning), pace)
                }
                None => strategies::by_name(&name).unwrap(),
            };
            if !strategy.size.is_elastic() {
                strategy.pace = Pace::Rounds(Span::from_secs(60));
            }
            let outcome = simulate(&fleet, workload, &mut strategy, Checks::Totals).unwrap();
            let times: Vec<f64> = outcome.completion_times().iter().map(|time| time.as_secs_f64()).collect();
            means.push(times.iter().sum::<f64>() / times.len() as f64);
            p99.push(times[times.len() * 99 / 100]);
            makespans.push(outcome.makespan.as_secs_f64());
            starts += outcome.jobs.iter().map(|job| job.starts).sum::<u32>();
        }
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        let each: Vec<String> = means.iter().map(|mean| format!("{mean:.0}")).collect();
        println!(
            "{name:10} {:6.0} s mean JCT   p99 {:6.0}  makespan {:6.0}  starts/job {:.2}  {:.1} s   each {}",
            mean(&means),
            mean(&p99),
            mean(&makespans),
            f64::from(starts) / 1280.0,
            begin.elapsed().as_secs_f64(),
            each.join(" ")
        );
    }
}

fn profiles(folder: &Path) -> Beside {
    let mut files = BTreeMap::new();
    for application in std::fs::read_dir(folder).unwrap() {
        let application = application.unwrap();
        for file in std::fs::read_dir(application.path()).unwrap() {
            let file = file.unwrap();
            let name = format!("{}/{}", application.file_name().display(), file.file_name().display());
            files.insert(name, std::fs::read_to_string(file.path()).unwrap());
        }
    }
    Beside::new(files)
}
