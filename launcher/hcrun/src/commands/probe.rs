//! `hcrun probe-gpu`, `probe-nccl` and `probe-cublaslt`: ask a library, for a process that must not hang with it.

use serde::Serialize;

use crate::codes;
use crate::failure::{Failure, Result};
use crate::output::Output;
use crate::{driver, libraries};

pub(crate) fn probe_gpu(output: &Output) -> Result<()> {
    say(&driver::answer(), output)
}

pub(crate) fn probe_nccl(output: &Output) -> Result<()> {
    say(&libraries::nccl(), output)
}

pub(crate) fn probe_cublaslt(output: &Output) -> Result<()> {
    say(&libraries::cublaslt(), output)
}

fn say(answer: &impl Serialize, output: &Output) -> Result<()> {
    let answer = serde_json::to_string(answer)
        .map_err(|error| Failure::new(&codes::INTERNAL, "the answer cannot be written").caused_by(&error))?;
    output.line(&answer);
    Ok(())
}
