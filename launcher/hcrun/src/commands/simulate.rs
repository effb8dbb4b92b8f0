//! `hcrun simulate`: a trace under strategies, one row of figures each.

use crate::cli::SimulateArgs;
use crate::failure::Result;
use crate::lab;
use crate::output::Output;

pub(crate) fn simulate(args: &SimulateArgs, output: &Output) -> Result<()> {
    let inputs = lab::read(&args.lab, &args.strategy, "simulate")?;
    let results = lab::sweep(&inputs, args.report.is_some(), output)?;
    if let Some(path) = &args.csv {
        lab::write(path, "table", &lab::to_csv(&results))?;
    }
    if let Some(path) = &args.report {
        lab::write_report(path, &inputs, &results)?;
    }
    let mut document = lab::Document::of(&inputs, &results);
    document.replay =
        inputs.recording.as_ref().map(|recording| lab::replay(&inputs, recording)).transpose()?;
    output.document(&document, || {
        let replay = document.replay.as_ref().map(|replay| format!("\n\n{}", lab::replay_text(replay)));
        lab::text(&inputs, &results) + &replay.unwrap_or_default()
    });
    Ok(())
}
