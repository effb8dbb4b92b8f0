//! `hcrun compare`: strategies side by side, with what can be said for sure, as table, file and report.

use crate::cli::CompareArgs;
use crate::failure::Result;
use crate::lab;
use crate::output::Output;

pub(crate) fn compare(args: &CompareArgs, output: &Output) -> Result<()> {
    let inputs = lab::read(&args.lab, &args.strategy, "compare")?;
    let results = lab::sweep(&inputs, true, output)?;
    lab::write(&args.csv, "table", &lab::to_csv(&results))?;
    lab::write_report(&args.report, &inputs, &results)?;
    output.document(&lab::Document::of(&inputs, &results), || lab::text(&inputs, &results));
    output.note(&format!("rows: {}\nreport: {}", args.csv.display(), args.report.display()));
    Ok(())
}
