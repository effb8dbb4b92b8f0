//! A job as `hcrun ps` and `hcrun why` show it.

use std::path::PathBuf;
use std::time::Duration;

use hcrun_protocol::time::Time;
use serde::Serialize;

use super::dir::QueueDir;
use super::store::{Ending, JobRow, JobState, RunRow, Store};
use super::submission::wall_clock;
use crate::failure::Result;
use crate::report::format::duration;

#[derive(Serialize)]
pub(crate) struct JobView {
    pub(crate) id: i64,
    pub(crate) name: String,
    class: &'static str,
    pools: String,
    pub(crate) state: JobState,
    /// How long it has been in this state.
    for_s: f64,
    pub(crate) reason: String,
    exit_code: Option<i32>,
    run: Option<PathBuf>,
    processes: Vec<Process>,
}

/// Moments are seconds since 1970.
#[derive(Serialize)]
struct Process {
    launched: f64,
    started_because: String,
    asked_to_stop: Option<f64>,
    stopped_because: Option<String>,
    ended: Option<f64>,
    /// None while it runs.
    ending: Option<&'static str>,
}

impl JobView {
    pub(crate) fn of(row: JobRow, queue: &QueueDir, store: &Store) -> Result<JobView> {
        Ok(JobView {
            processes: store.runs(row.id)?.into_iter().map(process).collect(),
            run: queue.run(row.id),
            id: row.id,
            class: row.class.name(),
            for_s: wall_clock().since(row.since).as_secs_f64(),
            name: row.name,
            pools: row.pools,
            state: row.state,
            reason: row.reason,
            exit_code: row.exit_code,
        })
    }

    /// Where it is, since when, and on what.
    pub(crate) fn line(&self) -> String {
        let (state, time) = (self.state.word(), length(self.for_s));
        let (class, name, pools) = (self.class, &self.name, pools_words(&self.pools));
        format!("{:>4}  {state:<9}  {time:>8}  {class:<13}  {name}  ({pools})", self.id)
    }

    /// `done`, or `failed: cannot read the job file; see …`.
    pub(super) fn state_words(&self) -> String {
        self.state.because(&self.reason)
    }

    pub(crate) fn run_line(&self) -> Option<String> {
        self.run.as_ref().map(|run| run.display().to_string())
    }

    /// What was decided about it, oldest first.
    pub(super) fn decisions(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for process in &self.processes {
            let mut say = |at: Option<f64>, what: String| {
                let ago = at.map_or_else(|| "?".to_owned(), |at| length(now() - at));
                lines.push(format!("{ago:>8} ago  {what}"));
            };
            say(Some(process.launched), format!("started: {}", process.started_because));
            if let (Some(at), Some(why)) = (process.asked_to_stop, &process.stopped_because) {
                say(Some(at), format!("told to stop: {why}"));
            }
            if let Some(ending) = process.ending {
                say(process.ended, format!("its process ended: {ending}"));
            }
        }
        lines
    }
}

fn process(run: RunRow) -> Process {
    Process {
        launched: seconds(run.launched),
        started_because: run.started_because,
        asked_to_stop: run.asked_to_stop.map(seconds),
        stopped_because: run.stopped_because,
        ended: run.ended.map(seconds),
        ending: run.ending.map(Ending::word),
    }
}

fn seconds(time: Time) -> f64 {
    time.0 as f64 / 1e6
}

pub(super) fn now() -> f64 {
    seconds(wall_clock())
}

/// `private=2;public=1` as `private 2 + public 1`.
pub(crate) fn pools_words(pools: &str) -> String {
    pools.replace('=', " ").replace(';', " + ")
}

pub(super) fn length(seconds: f64) -> String {
    duration(Duration::try_from_secs_f64(seconds).unwrap_or_default())
}
