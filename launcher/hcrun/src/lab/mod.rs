//! The scheduling lab: traces rehearsed under strategies, on all cores, and what came of it as table, files and report.

mod charts;
mod flags;
mod inputs;
mod metrics;
mod notes;
mod output_file;
mod replay;
mod report;
pub(crate) mod spot;
mod sweep;
mod table;
mod trace;

use std::path::Path;
use std::process::ExitCode;

use hcrun_scheduling::simulator::Course;

pub(crate) use inputs::{Inputs, quoted, read};
pub(crate) use metrics::{METRICS, Metric};
pub(crate) use output_file::OutputFile;
pub(crate) use replay::{Replay, replay, replay_text};
pub(crate) use sweep::{Results, Run, sweep};
pub(crate) use table::{Document, aligned, text, to_csv};

use crate::codes;
use crate::failure::{Failure, Result};
use crate::output::Output;

/// Writes a file that was asked for, whole or not at all.
pub(crate) fn write(path: &Path, what: &'static str, content: &str) -> Result<()> {
    OutputFile::open(path, what)?.write(content)
}

/// What happens to spot capacity on the trace as it is.
pub(crate) fn course(inputs: &Inputs) -> Result<Course> {
    spot::course(&inputs.spot, &inputs.fleet, 0, inputs.seeds)
}

/// The report of `results`.
pub(crate) fn to_html(inputs: &Inputs, results: &Results) -> String {
    report::to_html(inputs, results)
}

/// How the command ends once the results are out: their JSON has said what is wrong, people are told.
pub(crate) fn conclude(results: &Results, output: &Output) -> ExitCode {
    let failed: Vec<_> = results.failed().collect();
    let failure = match (results.interrupted, failed.as_slice()) {
        (Some(code), _) => Failure::new(code, "interrupted before all was simulated")
            .hint("the rows that are complete are written; give the command again for all of them"),
        (None, []) => return ExitCode::SUCCESS,
        (None, failed) => {
            let what =
                format!("{} of {} simulations failed", failed.len(), failed.len() + results.runs.len());
            let failure = Failure::new(&codes::SIMULATION_STUCK, what);
            failed.iter().take(MAX_NAMED).fold(failure, |failure, (run, why)| {
                failure.because(format!("{} on seed {}: {why}", run.strategy, run.seed))
            })
        }
    };
    ended(&failure, output)
}

/// How the command ends with a failure that its document has in JSON.
pub(crate) fn ended(failure: &Failure, output: &Output) -> ExitCode {
    if !output.is_json() {
        output.failure(failure);
    }
    ExitCode::from(failure.exit_code())
}

/// Failures that are named on the terminal; files and JSON have all.
const MAX_NAMED: usize = 5;
