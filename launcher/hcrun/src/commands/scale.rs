//! `hcrun scale`: one job with several numbers of workers, and how its speed grows with them.

use std::process::ExitCode;

use crate::cli::{Global, ScaleArgs};
use crate::failure::Result;
use crate::lab;
use crate::output::Output;
use crate::scale;

pub(crate) fn scale(args: &ScaleArgs, global: &Global, output: &Output) -> Result<ExitCode> {
    let experiment = scale::plan(args)?;
    experiment.warnings().iter().for_each(|warning| output.warn(warning));
    let measured = scale::sweep(&experiment, &global.runs_dir, output)?;
    let results = scale::Results::of(&experiment, measured);
    lab::write(&args.csv, "table", &scale::to_csv(&experiment, &results))?;
    lab::write(&args.report, "report", &scale::to_html(&experiment, &results))?;
    output.document(&scale::Document::of(&experiment, &results), || scale::text(&experiment, &results));
    output.note(&format!("rows: {}\nreport: {}", args.csv.display(), args.report.display()));
    Ok(match &results.ended {
        None => ExitCode::SUCCESS,
        Some(failure) => {
            // Its JSON is part of the document.
            if !output.is_json() {
                output.failure(failure);
            }
            ExitCode::from(failure.exit_code())
        }
    })
}
