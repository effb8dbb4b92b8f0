//! Who goes first when cores are short.

/// Lets the calling thread, and the threads that it starts from now on, go before all others of usual priority.
///
/// What the relay carries competes with it for the same cores, and an emulated link must not get slower by that. Where
/// this is refused, the thread does as well as it can.
pub(super) fn raise() {
    let _ = rustix::process::setpriority_process(None, HIGHEST);
}

const HIGHEST: i32 = -20;
