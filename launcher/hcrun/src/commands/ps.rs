//! `hcrun ps`: where the jobs of a queue are, since when and why.

use std::path::PathBuf;

use hcrun_protocol::time::Time;
use serde::Serialize;

use crate::cli::QueueArgs;
use crate::failure::Result;
use crate::output::Output;
use crate::queue::{Ending, JobRow, JobState, QueueDir, RunRow, Store, wall_clock};
use crate::report::format::duration;

#[derive(Serialize)]
struct Answer {
    /// Whether an `hcrun up` runs the queue.
    up: bool,
    jobs: Vec<Job>,
}

#[derive(Serialize)]
struct Job {
    id: i64,
    name: String,
    class: &'static str,
    pools: String,
    state: JobState,
    /// How long it has been in this state.
    for_s: f64,
    reason: String,
    exit_code: Option<i32>,
    run: Option<PathBuf>,
    processes: Vec<Process>,
}

/// Moments are seconds since 1970.
#[derive(Serialize)]
struct Process {
    launched: f64,
    asked_to_stop: Option<f64>,
    ended: Option<f64>,
    /// None while it runs.
    ending: Option<&'static str>,
}

pub(crate) fn ps(args: &QueueArgs, output: &Output) -> Result<()> {
    let queue = QueueDir::open(&args.queue)?;
    let store = Store::open(&queue)?;
    let jobs = store.jobs()?.into_iter().map(|row| {
        let processes = store.runs(row.id)?.iter().map(process).collect();
        Ok(job(row, &queue, processes))
    });
    let answer = Answer { up: queue.is_up(), jobs: jobs.collect::<Result<_>>()? };
    output.answer(&answer, || to_text(&answer));
    Ok(())
}

fn process(run: &RunRow) -> Process {
    let seconds = |time: Time| time.0 as f64 / 1e6;
    Process {
        launched: seconds(run.launched),
        asked_to_stop: run.asked_to_stop.map(seconds),
        ended: run.ended.map(seconds),
        ending: run.ending.map(Ending::word),
    }
}

fn job(row: JobRow, queue: &QueueDir, processes: Vec<Process>) -> Job {
    Job {
        processes,
        run: queue.run(row.id),
        id: row.id,
        class: row.class.name(),
        for_s: wall_clock().since(row.since).as_secs_f64(),
        name: row.name,
        pools: row.pools,
        state: row.state,
        reason: row.reason,
        exit_code: row.exit_code,
    }
}

fn to_text(answer: &Answer) -> String {
    let mut lines = Vec::new();
    for job in &answer.jobs {
        let time = duration(std::time::Duration::try_from_secs_f64(job.for_s).unwrap_or_default());
        lines.push(format!(
            "{:>4}  {:<9}  {time:>8}  {:<13}  {}  ({})",
            job.id,
            job.state.word(),
            job.class,
            job.name,
            job.pools
        ));
        lines.push(format!("      {}", job.reason));
        lines.extend(job.run.iter().map(|run| format!("      {}", run.display())));
    }
    if lines.is_empty() {
        lines.push("the queue is empty".to_owned());
    }
    if !answer.up {
        lines.push("nobody runs this queue: `hcrun up` does".to_owned());
    }
    lines.join("\n")
}
