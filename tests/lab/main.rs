//! The scheduling lab as people use it: whole commands, their files, their refusals.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod egress;
mod failures;
mod flags;
mod formats;
mod outputs;
mod providers;
mod why;
