//! `hcrun simulate`: a trace under strategies, one row of figures each.

use std::process::ExitCode;

use crate::cli::SimulateArgs;
use crate::failure::Result;
use crate::interrupts::Interrupts;
use crate::lab::{self, OutputFile};
use crate::output::Output;

pub(crate) fn simulate(args: &SimulateArgs, output: &Output) -> Result<ExitCode> {
    let inputs = lab::read(&args.lab, &args.strategy, "simulate")?;
    let interrupts = Interrupts::watch()?;
    let csv = args.csv.as_deref().map(|path| OutputFile::open(path, "table")).transpose()?;
    let report = args.report.as_deref().map(|path| OutputFile::open(path, "report")).transpose()?;
    if let (Some(csv), Some(report)) = (&csv, &report) {
        csv.differs_from(report)?;
    }
    let results = lab::sweep(&inputs, report.is_some(), &interrupts, output)?;
    if let Some(file) = csv {
        file.write(&lab::to_csv(&inputs, &results))?;
    }
    if let Some(file) = report {
        file.write(&lab::to_html(&inputs, &results))?;
    }
    let mut document = lab::Document::of(&inputs, &results);
    let recording = inputs.recording.as_ref().filter(|_| results.interrupted.is_none());
    let replay = recording.map(|recording| lab::replay(&inputs, recording)).transpose();
    // The rows are good without it.
    let failure = document.replayed(replay);
    output.document(&document, || {
        let replay = document.replay.as_ref().map(|replay| format!("\n\n{}", lab::replay_text(replay)));
        lab::text(&inputs, &results) + &replay.unwrap_or_default()
    });
    Ok(match failure {
        Some(failure) => lab::ended(&failure, output),
        None => lab::conclude(&results, output),
    })
}
