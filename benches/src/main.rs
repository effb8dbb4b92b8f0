//! Measurements of hcrun's parts, with what is needed to compare them later: date, machine, versions.
//!
//! `cargo xtask bench engine [--json] [--rounds N]`. Nothing here asserts a time: machines differ and are
//! shared. Results worth keeping lie in `benches/results`.

#![expect(clippy::print_stdout, reason = "prints measurements")]

use anyhow::{Context, bail};
use serde::Serialize;

mod engine;
mod machine;

const USAGE: &str = "usage: cargo xtask bench engine [--json] [--rounds N]";

/// What one invocation prints as JSON.
#[derive(Serialize)]
struct Results {
    schema: u32,
    bench: &'static str,
    rounds: usize,
    machine: machine::Machine,
    measurements: Vec<Measurement>,
}

/// One workload over all rounds.
#[derive(Serialize)]
struct Measurement {
    name: &'static str,
    /// What one step computes.
    workload: String,
    /// What `per_s` counts: samples or tokens.
    unit: &'static str,
    units_per_step: usize,
    min_ms: f64,
    median_ms: f64,
    /// At the median.
    per_s: f64,
    gflop_per_s: f64,
}

struct Arguments {
    json: bool,
    rounds: usize,
}

fn main() -> anyhow::Result<()> {
    let arguments = arguments(std::env::args().skip(1))?;
    let measurements = engine::measure(arguments.rounds)?;
    let machine = machine::Machine::this();
    let results = Results { schema: 1, bench: "engine", rounds: arguments.rounds, machine, measurements };
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&results)?);
    } else {
        print_table(&results);
    }
    Ok(())
}

fn arguments(mut words: impl Iterator<Item = String>) -> anyhow::Result<Arguments> {
    match words.next().as_deref() {
        Some("engine") => {}
        Some(other) => bail!("there is no bench `{other}`\n{USAGE}"),
        None => bail!("which bench?\n{USAGE}"),
    }
    let mut arguments = Arguments { json: false, rounds: 9 };
    while let Some(word) = words.next() {
        match word.as_str() {
            "--json" => arguments.json = true,
            "--rounds" => {
                let count = words.next().context("--rounds needs a number")?;
                arguments.rounds = count.parse().with_context(|| format!("--rounds {count}"))?;
                if arguments.rounds == 0 {
                    bail!("--rounds must be at least 1");
                }
            }
            other => bail!("unknown argument `{other}`\n{USAGE}"),
        }
    }
    Ok(arguments)
}

fn print_table(results: &Results) {
    let machine::Machine { date, cpu, cores, hcrun, rustc } = &results.machine;
    println!("{date} · {cpu}, {cores} cores · hcrun {hcrun} · {rustc}");
    println!("one thread, {} rounds\n", results.rounds);
    println!("{:12} {:>9} {:>10} {:>21} {:>9}  step", "", "min ms", "median ms", "at the median", "GFLOP/s");
    for Measurement { name, workload, unit, min_ms, median_ms, per_s, gflop_per_s, .. } in
        &results.measurements
    {
        let rate = format!("{per_s:.0} {unit}/s");
        println!("{name:12} {min_ms:9.3} {median_ms:10.3} {rate:>21} {gflop_per_s:9.1}  {workload}");
    }
}
