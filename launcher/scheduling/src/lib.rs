//! Pure scheduling: who runs where and when, and what it costs.
//!
//! Three layers, one direction. What there is: a [`Fleet`] of devices and a [`Workload`] of jobs, whose course is
//! kept by a [`State`]. What to do: a [`Strategy`], a named tuple of five stages that reads a state and returns
//! [`Decision`]s, each with its reason. What drives it: a [`simulator`] over traces, or a live queue; both apply
//! the same decisions to the same state. [`plan()`] places one job in detail.
//!
//! Nothing here knows a socket, clock, thread or environment: the same inputs give the same bytes.

pub mod comparison;
pub mod fleet;
pub mod free;
pub mod job;
mod plan;
pub mod simulator;
#[cfg_attr(not(test), expect(dead_code, reason = "strategies that solve programs come next"))]
mod solver;
pub mod state;
pub mod strategies;
pub mod strategy;
pub mod traces;
pub mod work;

pub use fleet::Fleet;
pub use free::Free;
pub use job::{JobIndex, JobSpec, Workload};
pub use plan::{Choice, Constraint, Infeasible, Inputs, Rejected, Workers, choose, plan, words};
pub use state::State;
pub use strategy::{Decision, Strategy};
pub use work::{Rate, Work};
