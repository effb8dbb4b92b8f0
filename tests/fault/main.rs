//! Whole runs in which something is killed, stopped, starved or asked to end.
//!
//! Whatever happens, a run ends in time on all processes, says who was the first cause, leaves a
//! checkpoint that loads, and leaves nothing else behind.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that cannot go on fails; times are worth a look"
)]

mod launcher;
mod scene;
mod starved;
mod stop;
mod worker;
