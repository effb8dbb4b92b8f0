//! `hcrun run`: what `plan` prints, executed.

use std::process::ExitCode;

use crate::cli::{Global, RunArgs};
use crate::failure::Result;
use crate::output::Output;
use crate::prepare;
use crate::run;

pub(crate) fn run(args: &RunArgs, global: &Global, output: &Output) -> Result<ExitCode> {
    run::die_with(args.serve.parent)?;
    let prepared = prepare::prepare_chosen(&args.job, &args.choose)?;
    run::start(&prepared, &args.serve, &global.runs_dir, output)
}
