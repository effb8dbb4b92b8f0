//! `hcrun ps`: where the jobs of a queue are, since when and why.

use serde::Serialize;

use crate::cli::QueueArgs;
use crate::failure::Result;
use crate::output::Output;
use crate::queue::{JobView, NOT_UP, QueueDir, Store};

#[derive(Serialize)]
struct Answer {
    /// Whether an `hcrun up` runs the queue.
    up: bool,
    jobs: Vec<JobView>,
}

pub(crate) fn ps(args: &QueueArgs, output: &Output) -> Result<()> {
    let queue = QueueDir::open(&args.queue)?;
    let store = Store::open(&queue)?;
    let jobs = store.jobs()?.into_iter().map(|row| JobView::of(row, &queue, &store));
    let answer = Answer { up: queue.is_up(), jobs: jobs.collect::<Result<_>>()? };
    output.answer(&answer, || to_text(&answer));
    Ok(())
}

fn to_text(answer: &Answer) -> String {
    let mut lines = Vec::new();
    for job in &answer.jobs {
        lines.push(job.line());
        lines.push(format!("      {}", job.reason));
        lines.extend(job.run_line().iter().map(|run| format!("      {run}")));
    }
    if lines.is_empty() {
        lines.push("the queue is empty".to_owned());
    }
    if !answer.up {
        lines.push(NOT_UP.to_owned());
    }
    lines.join("\n")
}
