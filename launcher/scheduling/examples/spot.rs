//! 48 hours of work on spot and on-demand devices, with deadlines, over many starts: what each strategy pays and how often it
//! is late.
//!
//! ```text
//! cargo run --release -p hcrun-scheduling --example spot [-- --starts N] [--traces FOLDER] [--only WORD]
//! ```
//!
//! Costs are shares of what the same work costs on demand without a changeover. Spot costs 0.30 of on-demand; each start takes
//! 0.2 h before its first step. Made-up zones come from the documented hazard generator, with the availabilities and losses
//! of public traces (reference: nine single-V100 zones). Bamboo's histories are shorter than the job: they go round, and each
//! start begins at another moment of them.
#![expect(clippy::print_stdout, reason = "an example prints")]

use std::path::PathBuf;

use hcrun_scheduling::simulator::Checks;
use hcrun_scheduling::traces::spot::History;

#[path = "../tests/common/spot_study.rs"]
mod spot_study;
use spot_study::{DEADLINES, STRATEGIES, Source, bamboo, made_up, run};

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let value =
        |name: &str| arguments.iter().position(|word| word == name).and_then(|at| arguments.get(at + 1));
    let starts: u64 = value("--starts").and_then(|text| text.parse().ok()).unwrap_or(100);
    let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/traces");
    let folder = PathBuf::from(value("--traces").map_or(beside, String::as_str));
    let mut sources = made_up();
    match bamboo(&folder) {
        Some(histories) => sources.extend(histories),
        None => println!(
            "SKIPPED: there are no Bamboo histories in {}; name their folder with --traces",
            folder.display()
        ),
    }
    if let Some(only) = value("--only") {
        sources.retain(|source| source.name.contains(only.as_str()));
    }
    println!("{starts} starts each; share of the on-demand cost (times late)\n");
    print!("{:<24} {:>5} {:>6}", "history", "up", "hours");
    STRATEGIES.iter().for_each(|name| print!(" {name:>22}"));
    println!();
    let mut totals = vec![[(0.0, 0u64); STRATEGIES.len()]; DEADLINES.len()];
    for source in &sources {
        for (hours, total) in DEADLINES.iter().zip(&mut totals) {
            print!("{:<24} {:>5.2} {hours:>6}", source.name, up(source));
            for (strategy, sum) in STRATEGIES.iter().zip(total.iter_mut()) {
                let (mut cost, mut late) = (0.0, 0);
                for start in 0..starts {
                    let result = run(source, strategy, *hours, start, Checks::Totals);
                    cost += result.cost / starts as f64;
                    late += u64::from(result.late);
                }
                sum.0 += cost / sources.len() as f64;
                sum.1 += late;
                print!(" {:>22}", format!("{cost:.3} ({late})"));
            }
            println!();
        }
    }
    println!();
    for (hours, total) in DEADLINES.iter().zip(&totals) {
        print!("{:<24} {:>5} {hours:>6}", "mean of all", "");
        total.iter().for_each(|(cost, late)| print!(" {:>22}", format!("{cost:.3} ({late})")));
        println!();
    }
}

fn up(source: &Source) -> f64 {
    let shares: Vec<f64> =
        source.zones(0).iter().map(|history: &History| history.availability(source.devices)).collect();
    shares.iter().sum::<f64>() / shares.len() as f64
}
