//! What a run tells while it runs and what is left of it: progress, metrics, summary, report.

pub mod charts;
pub(crate) mod drawing;
pub mod format;
pub mod html;
pub mod metrics;
pub(crate) mod page;
pub mod progress;
pub mod summary;

pub use metrics::{EvaluationRow, Row, StepRow};
pub use progress::{Mode, Progress};
pub use summary::{Status, Summary};

use std::path::PathBuf;

use hcrun_protocol::plan::Plan;

use crate::failure::Result;
use crate::run_dir::{RunDir, files};

/// Writes `report.html` from the files of a run, as far as they exist; says where.
pub fn write(run: &RunDir) -> Result<PathBuf> {
    let plan: Option<Plan> = read_json(run, files::PLAN);
    let summary = read_summary(run);
    let (steps, evaluations) = read_metrics(run);
    let name = run.name();
    let report = html::Report {
        run: &name,
        plan: plan.as_ref(),
        summary: summary.as_ref(),
        steps: &steps,
        evaluations: &evaluations,
    };
    run.write(files::REPORT, report.to_html().as_bytes())?;
    Ok(run.file(files::REPORT))
}

/// None for a run that has not written one.
pub fn read_summary(run: &RunDir) -> Option<Summary> {
    read_json(run, files::SUMMARY)
}

/// Empty for a run that has not made a step.
pub fn read_metrics(run: &RunDir) -> (Vec<StepRow>, Vec<EvaluationRow>) {
    metrics::read(&run.file(files::METRICS)).unwrap_or_default()
}

fn read_json<T: serde::de::DeserializeOwned>(run: &RunDir, name: &str) -> Option<T> {
    serde_json::from_slice(&std::fs::read(run.file(name)).ok()?).ok()
}
