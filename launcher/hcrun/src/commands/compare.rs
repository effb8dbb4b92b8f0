//! `hcrun compare`: strategies side by side, with what can be said for sure, as table, file and report.

use std::process::ExitCode;

use crate::cli::CompareArgs;
use crate::failure::Result;
use crate::interrupts::Interrupts;
use crate::lab::{self, OutputFile};
use crate::output::Output;

pub(crate) fn compare(args: &CompareArgs, output: &Output) -> Result<ExitCode> {
    let inputs = lab::read(&args.lab, &args.strategy, "compare")?;
    let interrupts = Interrupts::watch()?;
    let csv = OutputFile::open(&args.csv, "table")?;
    let report = OutputFile::open(&args.report, "report")?;
    csv.differs_from(&report)?;
    let results = lab::sweep(&inputs, true, &interrupts, output)?;
    csv.write(&lab::to_csv(&inputs, &results))?;
    report.write(&lab::to_html(&inputs, &results))?;
    output.document(&lab::Document::of(&inputs, &results), || lab::text(&inputs, &results));
    output.note(&format!("rows: {}\nreport: {}", args.csv.display(), args.report.display()));
    Ok(lab::conclude(&results, output))
}
