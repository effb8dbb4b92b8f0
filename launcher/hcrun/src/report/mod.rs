//! What a run tells while it runs and what is left of it: progress, metrics, summary, report.

pub mod charts;
pub mod format;
pub mod html;
pub mod metrics;
pub mod progress;
pub mod summary;

pub use metrics::{EvaluationRow, Row, StepRow};
pub use progress::{Mode, Progress};
pub use summary::{Status, Summary};
