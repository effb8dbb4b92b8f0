//! `hcrun keep`: clears up behind a launcher that is killed.

use crate::cli::KeepArgs;
use crate::codes;
use crate::failure::{Failure, Result};

pub(crate) fn keep(args: &KeepArgs) -> Result<()> {
    crate::run::keep(&args.run).map_err(|error| {
        Failure::new(&codes::INTERNAL, "cannot wait for the launcher's end").caused_by(&error)
    })
}
