//! What a queue ran, as a trace that `hcrun simulate --replay` reads.

use std::fmt::Write;

use hcrun_protocol::time::Time;
use hcrun_scheduling::traces::hcrun::COLUMNS;

use super::course::{self, Measured};
use super::dir::QueueDir;
use super::store::{JobRow, JobState, Store};
use crate::codes;
use crate::failure::{Failure, Result};

/// A trace and what is not in it.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) csv: String,
    pub(crate) jobs: usize,
    /// Jobs that are not done.
    pub(crate) left_out: usize,
}

pub(crate) fn record(queue: &QueueDir) -> Result<Record> {
    let store = Store::open(queue)?;
    let nothing = || {
        Failure::new(&codes::QUEUE_NOT_FOUND, "the queue has run nothing to its end yet")
            .at(queue.path.display().to_string())
            .hint("record it once a job is done; `hcrun ps` shows where jobs are")
    };
    let strategy = store.get("strategy")?.ok_or_else(nothing)?;
    let fleet = store.get("fleet")?.ok_or_else(nothing)?;
    let rows = store.jobs()?;
    let all = rows.len();
    let done = rows.into_iter().filter(|row| row.state == JobState::Done);
    let done = done.map(|row| Ok((course::measured(&store.runs(row.id)?), row)));
    let done: Vec<(Measured, JobRow)> = done.collect::<Result<_>>()?;
    let first = done.iter().map(|(_, row)| row.submitted).min().ok_or_else(nothing)?;
    // What jobs that were never stopped would cost is what others did.
    let startup = done.iter().fold(course::Sum::default(), |sum, (measured, _)| sum.and(measured.startup));
    let stop = done.iter().fold(course::Sum::default(), |sum, (measured, _)| sum.and(measured.stop));
    let (startup, stop) = (startup.mean().unwrap_or_default(), stop.mean().unwrap_or_default());
    let mut csv = COLUMNS.join(",") + "\n";
    for (measured, row) in &done {
        let seconds = |time: Time| time.since(first).as_secs_f64();
        let _ = writeln!(
            csv,
            "{},{},{:.6},{},{},{:.6},{:.6},{:.6},{:.6},{},{},{:.6},{:.6},{strategy},{fleet}",
            row.id,
            row.name,
            seconds(row.submitted),
            row.pools,
            row.class.name(),
            measured.work.as_secs_f64(),
            row.estimate.as_secs_f64(),
            measured.startup.mean().unwrap_or(startup).as_secs_f64(),
            measured.stop.mean().unwrap_or(stop).as_secs_f64(),
            measured.starts,
            measured.preemptions,
            seconds(measured.first_start.unwrap_or(row.submitted)),
            seconds(row.since),
        );
    }
    Ok(Record { csv, jobs: done.len(), left_out: all - done.len() })
}

/// Means over all that the queue ran so far.
pub(super) fn costs(store: &Store) -> Result<super::live::Costs> {
    let mut costs = super::live::Costs::default();
    for row in store.jobs()? {
        costs.learn(&course::measured(&store.runs(row.id)?));
    }
    Ok(costs)
}
