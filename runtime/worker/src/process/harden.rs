//! What a process holds must not outlive it: no core file, no orphan, no panic text with a value.

use std::sync::{Arc, OnceLock};

use rustix::process::{
    DumpableBehavior, Pid, Resource, Rlimit, Signal, getppid, set_dumpable_behavior,
    set_parent_process_death_signal, setrlimit,
};

use super::WorkerError;

/// Ties this process to the one that started it.
pub(super) fn die_with(parent: Option<i32>) -> Result<(), WorkerError> {
    let Some(parent) = parent else { return Ok(()) };
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(|error| WorkerError::Harden(error.into()))?;
    // The parent may have ended before the signal was asked for.
    if getppid() == Pid::from_raw(parent) { Ok(()) } else { Err(WorkerError::Orphan) }
}

/// No core file, also not through a pipe, which a size limit alone would not stop.
/// Nor can other processes of the same user trace this one: a worker holds data, a launcher keys.
pub fn keep_memory_private() -> std::io::Result<()> {
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    Ok(())
}

/// The first panic's place. Its message stays in the zone's log: it may hold a value.
pub(super) fn remember_panics() -> Arc<OnceLock<String>> {
    let place = Arc::new(OnceLock::new());
    let theirs = place.clone();
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if let Some(location) = info.location() {
            theirs.get_or_init(|| format!("{}:{}", location.file(), location.line()));
        }
        print(info);
    }));
    place
}
