//! A queue of jobs as people use it: whole processes, also killed ones.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod ends;
mod order;
mod refusals;
mod scene;
mod trace;
