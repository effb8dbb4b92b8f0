//! Muri's traces (pkusys/Muri, simulator/trace-data): rigid jobs, times in milliseconds.

use hcrun_protocol::time::{Span, Time};

use super::table::Table;
use super::{TraceError, workload};
use crate::job::{JobSpec, Workload};

const COLUMNS: [&str; 5] = ["job_id", "num_gpu", "submit_time", "model_name", "duration"];
const IGNORED: [&str; 8] = [
    "iterations",
    "batch_size",
    "interval",
    "iteration_time",
    "resource_time_0",
    "resource_time_1",
    "resource_time_2",
    "priority",
];

pub(super) fn read(text: &str) -> Result<Workload, TraceError> {
    let jobs = Table::new(text, &COLUMNS, &IGNORED)?.rows(|row| {
        let submit = Time(row.micros("submit_time", 1e3)?);
        let duration = Span(row.micros("duration", 1e3)?);
        let mut job = JobSpec::rigid(row.text("job_id"), submit, row.devices("num_gpu")?, duration);
        job.model = row.text("model_name").to_owned();
        Ok((row.line, job))
    })?;
    workload(jobs)
}
