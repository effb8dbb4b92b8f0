//! Training steps of one worker on one thread, in turns with PyTorch's where there is one.
//!
//! A round is the mean over some steps; sides alternate round by round, so that a neighbour that takes
//! the machine's time takes it from both.

use std::process::Command;

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};

mod bounds;
mod options;
mod ours;
mod workload;

use crate::arguments::Words;
use crate::machine::Machine;
use crate::talker::Talker;
use options::Options;
use ours::Ours;
use workload::Workload;

pub(crate) use options::USAGE;

/// What one invocation prints as JSON.
#[derive(Serialize)]
struct Results {
    schema: u32,
    bench: &'static str,
    rounds: usize,
    threads: usize,
    machine: Machine,
    #[serde(skip_serializing_if = "Option::is_none")]
    torch: Option<String>,
    rows: Vec<Row>,
    /// Bounds that this run was held to, and how it stands.
    bounds: Vec<bounds::Verdict>,
}

/// One workload over all rounds.
#[derive(Serialize)]
struct Row {
    name: &'static str,
    /// What a step works through: tokens, samples or parameters.
    unit: &'static str,
    units_per_step: usize,
    hcrun: Figures,
    /// By the model's count, which includes no masked attention; at the median.
    #[serde(skip_serializing_if = "Option::is_none")]
    gflop_per_s: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    torch: Option<Figures>,
    /// Of the rates at the medians, hcrun's by PyTorch's: above 1 is faster.
    #[serde(skip_serializing_if = "Option::is_none")]
    ratio: Option<f64>,
    /// The same at the minima.
    #[serde(skip_serializing_if = "Option::is_none")]
    ratio_of_minima: Option<f64>,
}

#[derive(Serialize)]
struct Figures {
    /// Milliseconds of a step, by round.
    round_ms: Vec<f64>,
    min_ms: f64,
    median_ms: f64,
    /// At the median.
    units_per_s: f64,
}

#[derive(Deserialize)]
struct Greeting {
    torch: String,
}

#[derive(Deserialize)]
struct Answer {
    seconds: f64,
}

pub(crate) fn run(words: Words) -> anyhow::Result<()> {
    let options = Options::parse(words)?;
    let mut torch = options.python.as_deref().map(start_torch).transpose()?;
    if !options.json {
        println!("{HEAD}");
    }
    let mut rows = Vec::new();
    for workload in &options.workloads {
        let peer = torch.as_mut().map(|(talker, _)| talker);
        let row = row(workload, peer, options.rounds).with_context(|| workload.name)?;
        if !options.json {
            print_row(&row);
        }
        rows.push(row);
    }
    let bounds = bounds::judge(&rows);
    let (schema, rounds, threads) = (2, options.rounds, 1);
    let torch = torch.map(|(_, version)| version);
    let machine = Machine::this();
    report(&options, &Results { schema, bench: "engine", rounds, threads, machine, torch, rows, bounds })
}

fn start_torch(python: &str) -> anyhow::Result<(Talker, String)> {
    let mut command = Command::new(python);
    command.arg(crate::root().join("benches/peers/torch_engine.py"));
    let mut talker = Talker::start("torch_engine.py".to_owned(), command)?;
    let Greeting { torch } = talker.hear().context("see --python")?;
    Ok((talker, torch))
}

fn row(workload: &Workload, mut torch: Option<&mut Talker>, rounds: usize) -> anyhow::Result<Row> {
    let mut ours = Ours::new(workload)?;
    let (mut own_ms, mut torch_ms) = (Vec::new(), Vec::new());
    for round in 0..=rounds {
        let own = ours.measure()? * 1e3;
        let peer = match &mut torch {
            Some(torch) => {
                torch.say(&workload.order())?;
                Some(torch.hear::<Answer>()?.seconds * 1e3)
            }
            None => None,
        };
        // The first round warms up.
        if round > 0 {
            own_ms.push(own);
            torch_ms.extend(peer);
        }
    }
    let (units_per_step, unit) = workload.shape.units();
    let hcrun = figures(own_ms, units_per_step)?;
    let torch = if torch.is_some() { Some(figures(torch_ms, units_per_step)?) } else { None };
    Ok(Row {
        name: workload.name,
        unit,
        units_per_step,
        gflop_per_s: ours.flops_per_step.map(|flops| flops / hcrun.median_ms / 1e6),
        ratio: torch.as_ref().map(|torch| torch.median_ms / hcrun.median_ms),
        ratio_of_minima: torch.as_ref().map(|torch| torch.min_ms / hcrun.min_ms),
        hcrun,
        torch,
    })
}

fn figures(round_ms: Vec<f64>, units_per_step: usize) -> anyhow::Result<Figures> {
    let mut sorted = round_ms.clone();
    sorted.sort_by(f64::total_cmp);
    let min_ms = *sorted.first().context("no rounds")?;
    let median_ms = sorted[sorted.len() / 2];
    Ok(Figures { round_ms, min_ms, median_ms, units_per_s: units_per_step as f64 / median_ms * 1e3 })
}

fn report(options: &Options, results: &Results) -> anyhow::Result<()> {
    let json = serde_json::to_string_pretty(results)?;
    if let Some(path) = &options.out {
        std::fs::write(path, format!("{json}\n"))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    if options.json {
        println!("{json}");
    } else {
        let Machine { date, cpu, cores, hcrun, rustc } = &results.machine;
        let torch = results.torch.as_ref().map_or(String::new(), |version| format!(" · torch {version}"));
        println!("\n{date} · {cpu}, {cores} cores · hcrun {hcrun} · {rustc}{torch}");
        println!("one thread a side, {} rounds", results.rounds);
        results.bounds.iter().for_each(|verdict| println!("{verdict}"));
    }
    let missed = results.bounds.iter().filter(|verdict| !verdict.kept).count();
    if missed > 0 {
        bail!("{missed} of {} bounds missed", results.bounds.len());
    }
    Ok(())
}

const HEAD: &str = "\
                min ms  median ms                   rate  GFLOP/s  torch min ms  median ms  ratio  of minima";

fn print_row(row: &Row) {
    let Row { name, unit, hcrun, gflop_per_s, torch, ratio, ratio_of_minima, .. } = row;
    let rate = format!("{:.0} {unit}/s", hcrun.units_per_s);
    let flops = gflop_per_s.map_or(String::new(), |rate| format!("{rate:.1}"));
    print!("{name:12} {:9.3} {:10.3} {rate:>22} {flops:>8}", hcrun.min_ms, hcrun.median_ms);
    match (torch, ratio, ratio_of_minima) {
        (Some(torch), Some(ratio), Some(of_minima)) => {
            println!(" {:13.3} {:10.3} {ratio:6.2} {of_minima:10.2}", torch.min_ms, torch.median_ms);
        }
        _ => println!(),
    }
}
