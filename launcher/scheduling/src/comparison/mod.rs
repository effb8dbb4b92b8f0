//! Strategies side by side: the figures of one simulation, and what can be said of several.

mod fairness;
mod figures;
mod interval;
mod times;
mod variation;

pub use figures::Figures;
pub use interval::{Interval, mean_interval, paired_interval};
pub use times::{Beside, JobTimes, beside, job_times};
pub use variation::{Estimates, vary};
