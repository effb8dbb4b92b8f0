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
    output.document(&lab::Document::of(&inputs, &results), || lab::text(&inputs, &results));
    Ok(())
}
