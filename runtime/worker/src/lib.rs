//! One worker process: a [`session`] with the coordinator and the other members, and the training loop
//! over it.
//!
//! `session` knows no model and owns no signal handler or process-wide state. `train` decides nothing that
//! protocol could decide. `process` is the only place that touches the process itself.

pub mod locate;
mod node;
pub mod process;
pub mod progress;
pub mod session;
mod state;
mod train;
