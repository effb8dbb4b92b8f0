//! What a queue ran, as a trace that `hcrun simulate --replay` reads.

use std::collections::BTreeMap;
use std::fmt::Write;

use hcrun_protocol::time::{Span, Time};
use hcrun_scheduling::traces::hcrun::{COLUMNS, End};

use super::course::{self, Measured};
use super::dir::QueueDir;
use super::store::{JobRow, JobState, Store};
use super::submission::wall_clock;
use crate::codes;
use crate::failure::{Failure, Result};

/// A trace and what is in it.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) csv: String,
    /// How many jobs left the queue in which way.
    pub(crate) jobs: BTreeMap<&'static str, usize>,
}

pub(crate) fn record(queue: &QueueDir) -> Result<Record> {
    let store = Store::open(queue)?;
    let nothing = || {
        Failure::new(&codes::QUEUE_NOT_FOUND, "the queue has run nothing yet")
            .at(queue.path.display().to_string())
            .hint("submit a job and run the queue with `hcrun up`; `hcrun ps` shows where jobs are")
    };
    let strategy = store.get("strategy")?.ok_or_else(nothing)?;
    let fleet = store.get("fleet")?.ok_or_else(nothing)?;
    let now = wall_clock();
    let rows = store.jobs()?.into_iter().map(|row| Ok((course::measured(&store.runs(row.id)?), row)));
    let rows: Vec<(Measured, JobRow)> = rows.collect::<Result<_>>()?;
    let first = rows.iter().map(|(_, row)| row.submitted).min().ok_or_else(nothing)?;
    // What jobs that were never stopped would cost is what others did.
    let startup = rows.iter().fold(course::Sum::default(), |sum, (measured, _)| sum.and(measured.startup));
    let stop = rows.iter().fold(course::Sum::default(), |sum, (measured, _)| sum.and(measured.stop));
    let (startup, stop) = (startup.mean().unwrap_or_default(), stop.mean().unwrap_or_default());
    let (mut csv, mut jobs) = (COLUMNS.join(",") + "\n", BTreeMap::new());
    for (measured, row) in &rows {
        let seconds = |time: Time| time.since(first).as_secs_f64();
        let end = end(row.state);
        *jobs.entry(end.name()).or_default() += 1;
        let ended = if end == End::Unfinished { now } else { row.since };
        // One that never came to its first step was busy with its start all the time.
        let startup =
            measured.startup.mean().unwrap_or(if measured.is_all_start() { Span(0) } else { startup });
        let _ = writeln!(
            csv,
            "{},{},{:.6},{},{},{:.6},{:.6},{:.6},{:.6},{},{},{:.6},{:.6},{},{strategy},{fleet}",
            row.id,
            row.name,
            seconds(row.submitted),
            row.pools,
            row.class.name(),
            measured.work.as_secs_f64(),
            row.estimate.as_secs_f64(),
            startup.as_secs_f64(),
            measured.stop.mean().unwrap_or(stop).as_secs_f64(),
            measured.starts,
            measured.preemptions,
            seconds(measured.first_start.unwrap_or(row.submitted)),
            seconds(ended.max(row.submitted)),
            end.name(),
        );
    }
    Ok(Record { csv, jobs })
}

fn end(state: JobState) -> End {
    match state {
        JobState::Done => End::Done,
        JobState::Failed => End::Failed,
        JobState::Cancelled => End::Cancelled,
        JobState::Waiting | JobState::Running | JobState::Stopping => End::Unfinished,
    }
}

/// Means over all that the queue ran so far.
pub(super) fn costs(store: &Store) -> Result<super::live::Costs> {
    let mut costs = super::live::Costs::default();
    for row in store.jobs()? {
        costs.learn(&course::measured(&store.runs(row.id)?));
    }
    Ok(costs)
}
