//! What a start costs, by model.

use std::collections::BTreeMap;

use hcrun_protocol::time::Span;

use crate::job::Workload;

/// From getting devices to the first step, by the name of the model that a job trains.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overheads {
    /// Of models that are not named.
    pub default: Span,
    pub by_model: BTreeMap<String, Span>,
}

impl Overheads {
    pub fn of(&self, model: &str) -> Span {
        self.by_model.get(model).copied().unwrap_or(self.default)
    }

    /// Lets each job of `workload` pay at each of its starts.
    pub fn charge(&self, workload: &mut Workload) {
        workload.jobs_mut().for_each(|job| job.start_overhead = self.of(&job.model));
    }
}
