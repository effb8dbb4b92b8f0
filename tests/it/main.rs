//! Whole runs of the command against what it promises.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod compress;
mod curves;
mod doctor;
mod equality;
mod exchange;
mod forged;
mod inputs;
mod ledger;
mod residency;
mod resume;
mod scale;
mod watch;
