//! A run that a queue started dies with it.

use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};

use crate::codes;
use crate::failure::{Failure, Result};

pub(crate) fn die_with(parent: Option<i32>) -> Result<()> {
    let Some(parent) = parent else { return Ok(()) };
    let gone = || Failure::new(&codes::COORDINATOR_LOST, "the queue that started this run is gone");
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(|error| gone().caused_by(&error))?;
    // The queue may have ended before the signal was asked for.
    if getppid() == Pid::from_raw(parent) { Ok(()) } else { Err(gone()) }
}
