//! The live queue: jobs that are submitted to a directory, and one process that runs them under a strategy.
//!
//! `store` is the database and the only place that knows SQL; `dir` the directory around it, with the lock of the one
//! process that runs jobs and the socket that wakes it; `submission` what is kept of a job; `up` the loop around
//! scheduling's `State` and `Strategy`; `child` a run as a process; `course` what runs measured; `why` and `view` what is shown
//! of a job; `record` the trace.

mod child;
mod course;
mod dir;
mod live;
mod record;
mod store;
mod store_error;
mod submission;
mod up;
mod view;
mod why;

pub(crate) use dir::QueueDir;
pub(crate) use record::record;
pub(crate) use store::Store;
pub(crate) use submission::{submit, wall_clock};
pub(crate) use up::{Settings, up};
pub(crate) use view::{JobView, pools_words};
pub(crate) use why::{NOT_UP, why};
