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
    let answer = json!({ "file": args.out, "jobs": record.jobs, "left_out": record.left_out });
    output.answer(&answer, || {
        let left_out = match record.left_out {
            0 => String::new(),
            count => format!(", without {count} that are not done"),
        };
        format!("{} jobs in {}{left_out}", record.jobs, args.out.display())
    });
    Ok(())
}
