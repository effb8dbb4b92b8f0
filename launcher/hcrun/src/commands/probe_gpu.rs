//! `hcrun probe-gpu`: asks the GPU's driver, for a process that must not hang with it.

use crate::codes;
use crate::driver;
use crate::failure::{Failure, Result};
use crate::output::Output;

pub(crate) fn probe_gpu(output: &Output) -> Result<()> {
    let answer = serde_json::to_string(&driver::answer());
    let answer = answer.map_err(|error| {
        Failure::new(&codes::INTERNAL, "the driver's answer cannot be written").caused_by(&error)
    })?;
    output.line(&answer);
    Ok(())
}
