//! Training the same GPT by hcrun and by a peer, in turns, over the same link.
//!
//! Both sides start from the same parameters, see the same samples in every step and apply the same updates,
//! so they differ in time and bytes alone; losses that drift apart end the bench. Each side is four
//! processes of one computing thread: two on the first host, two on the second.
//! Flow: [`workload`] says what is trained; [`hcrun`] and [`peer`] run it once and give an [`outcome`];
//! [`results`] compares them and holds the ratios against what is promised for the laboratory's link.

use std::path::Path;

use anyhow::{Context, ensure};

use crate::arguments::Words;
use crate::link::Link;
use crate::machine::Machine;

mod hcrun;
mod options;
mod outcome;
mod peer;
mod results;
mod table;
mod workload;

use options::Options;
use outcome::{Outcome, Side};
use results::Results;
use workload::Workload;

pub(crate) const USAGE: &str = "\
usage: cargo xtask bench train --peer torch-ddp --python PATH [--steps N] [--rounds N] [--batch N]
           [--codec f32,bf16,f16,int8,int4] [--bucket-mib N] [--congestion NAME]
           [--hcrun PATH] [--json] [--out FILE]";

/// Hosts of a laboratory that are used: private workers are on the first, public ones on the second.
const HOSTS: usize = 2;

/// That of each step, of a run's `metrics.jsonl`.
pub(crate) fn losses(metrics: &str) -> anyhow::Result<Vec<f64>> {
    Ok(hcrun::steps(metrics)?.loss)
}

pub(crate) fn run(words: Words) -> anyhow::Result<()> {
    let options = Options::read(words)?;
    let link = Link::from_environment(HOSTS)?;
    let workload = Workload::new(options.batch, options.steps)?;
    let hcrun = options.hcrun.clone().map_or_else(hcrun::build, Ok)?;
    let mut outcomes = Vec::new();
    for round in 1..=options.rounds {
        for side in &sides(&options.codecs) {
            eprintln!("round {round} of {}: {side}, {} steps over {link}", options.rounds, options.steps);
            let outcome = run_side(side, &options, &hcrun, &workload, &link)
                .with_context(|| format!("round {round}, {side}"))?;
            eprintln!("  {:.1} samples/s", outcome.samples_per_s);
            outcomes.push(outcome);
        }
    }
    results::same_training(&outcomes)?;
    let results = Results::new(Machine::this(), link, &options, &workload, outcomes)?;
    let json = serde_json::to_string_pretty(&results)?;
    if let Some(path) = &options.out {
        std::fs::write(path, format!("{json}\n"))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    if options.json {
        println!("{json}");
    } else {
        table::print(&results);
    }
    results.hold_bounds()
}

/// In turns; the peer has an f32 and a bf16 side, whatever codecs hcrun is asked for.
fn sides(codecs: &[String]) -> Vec<Side> {
    let mut peers = peer::HOOKS.iter().map(|(codec, _)| Side::Peer { codec });
    let mut sides = Vec::new();
    for codec in codecs {
        sides.push(Side::Hcrun { codec: codec.clone() });
        sides.extend(peers.next());
    }
    sides.extend(peers);
    sides
}

fn run_side(
    side: &Side,
    options: &Options,
    hcrun: &Path,
    workload: &Workload,
    link: &Link,
) -> anyhow::Result<Outcome> {
    let folder = tempfile::tempdir().context("cannot make a temporary folder: is TMPDIR writable?")?;
    let folder = folder.path();
    let (steps, border) = match side {
        Side::Hcrun { codec } => hcrun::train(hcrun, codec, &options.congestion, workload, link, folder)?,
        Side::Peer { codec } => peer::train(options, codec, workload, link, folder)?,
    };
    ensure!(
        steps.loss.len() == workload.steps(),
        "{} of {} steps came back",
        steps.loss.len(),
        workload.steps()
    );
    Ok(Outcome::new(side.clone(), workload.batch(), &steps, border))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sides_take_turns_and_the_peer_is_never_left_out() {
        let words = |codecs: &[&str]| {
            let codecs: Vec<String> = codecs.iter().map(|codec| (*codec).to_owned()).collect();
            sides(&codecs).iter().map(Side::to_string).collect::<Vec<_>>()
        };
        assert_eq!(words(&["int8"]), ["hcrun int8", "torch-ddp f32", "torch-ddp bf16"]);
        let all = ["hcrun f32", "torch-ddp f32", "hcrun bf16", "torch-ddp bf16", "hcrun int8"];
        assert_eq!(words(&["f32", "bf16", "int8"]), all);
    }
}
