//! `hcrun worker`: one worker process of a job.

use std::process::ExitCode;

use crate::cli::{Global, WorkerArgs};
use crate::codes;
use crate::failure::{Failure, Result};
use crate::output::Output;

pub(crate) fn worker(_args: &WorkerArgs, _global: &Global, _output: &Output) -> Result<ExitCode> {
    Err(Failure::new(&codes::INTERNAL, "`worker` is not built yet"))
}
