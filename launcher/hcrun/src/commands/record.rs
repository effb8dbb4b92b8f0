//! `hcrun record`: what a queue ran, as a trace.

use serde_json::json;

use crate::cli::RecordArgs;
use crate::failure::Result;
use crate::lab;
use crate::output::Output;
use crate::queue::{self, QueueDir};

pub(crate) fn record(args: &RecordArgs, output: &Output) -> Result<()> {
    let queue = QueueDir::open(&args.queue.queue)?;
    let record = queue::record(&queue)?;
    lab::write(&args.out, "trace", &record.csv)?;
    let answer = json!({ "file": args.out, "jobs": record.jobs });
    output.answer(&answer, || {
        let jobs: Vec<String> = record.jobs.iter().map(|(end, count)| format!("{count} {end}")).collect();
        format!("{}: jobs {}", args.out.display(), jobs.join(", "))
    });
    Ok(())
}
