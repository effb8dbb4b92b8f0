//! The floors that a sum must reach before it crosses a zone border, checked by the sender.

use hcrun_protocol::batch::BatchPlan;
use hcrun_protocol::{Rank, Step, ZoneId};

use super::TrainFailure;

/// Rows by zone, where there is more than one zone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Floors {
    /// Zone, training rows and held-out rows whose sums its workers send.
    pub(crate) zones: Vec<(ZoneId, u64, u64)>,
}

impl Floors {
    pub(super) fn check_statistics(&self, min_rows: u64) -> Result<(), TrainFailure> {
        self.check(min_rows, "statistics", |(_, training, _)| *training)
    }

    pub(super) fn check_evaluation(&self, min_rows: u64) -> Result<(), TrainFailure> {
        self.check(min_rows, "evaluation sums", |(_, _, held_out)| *held_out)
    }

    /// A zone that sums over nothing reveals nothing.
    fn check(
        &self,
        min_rows: u64,
        what: &'static str,
        rows: impl Fn(&(ZoneId, u64, u64)) -> u64,
    ) -> Result<(), TrainFailure> {
        let low = self.zones.iter().find(|zone| (1..min_rows).contains(&rows(zone)));
        match low {
            Some(zone) if self.zones.len() > 1 => {
                Err(TrainFailure::FewRows { what, zone: zone.0.clone(), rows: rows(zone), min_rows })
            }
            _ => Ok(()),
        }
    }
}

/// Gradient sums cross a border only over enough workers that hold samples of the step.
pub(super) fn check_contributors(
    batches: &BatchPlan,
    zones: &[Vec<Rank>],
    step: Step,
    min: usize,
) -> Result<(), TrainFailure> {
    if zones.len() < 2 {
        return Ok(());
    }
    let batch = batches.compose(step);
    let few = zones.iter().map(|ranks| batch.contributors(ranks)).find(|count| (1..min).contains(count));
    match few {
        Some(contributors) => Err(TrainFailure::FewContributors { step, contributors, min }),
        None => Ok(()),
    }
}
