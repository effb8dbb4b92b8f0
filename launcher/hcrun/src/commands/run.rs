//! `hcrun run`, `resume` and `predict`.

use std::process::ExitCode;

use crate::cli::{Global, PredictArgs, ResumeArgs, RunArgs};
use crate::codes;
use crate::failure::{Failure, Result};
use crate::output::Output;
use crate::prepare;
use crate::run;

pub(crate) fn run(args: &RunArgs, global: &Global, output: &Output) -> Result<ExitCode> {
    let prepared = prepare::prepare(&args.job)?;
    run::start(&prepared, &args.serve, &global.runs_dir, output)
}

pub(crate) fn resume(_args: &ResumeArgs, _global: &Global, _output: &Output) -> Result<ExitCode> {
    Err(Failure::new(&codes::INTERNAL, "`resume` is not built yet"))
}

pub(crate) fn predict(_args: &PredictArgs, _global: &Global, _output: &Output) -> Result<()> {
    Err(Failure::new(&codes::INTERNAL, "`predict` is not built yet"))
}
