//! The floors that a sum must reach before it crosses a zone border, checked by the sender.

use hcrun_protocol::batch::BatchPlan;
use hcrun_protocol::{Rank, Step, ZoneId};

use super::TrainFailure;

/// Rows by zone, and whether sums over them go anywhere else.
#[derive(Debug, Clone, Default)]
pub(crate) struct Floors {
    /// To workers of another zone, or to a coordinator of one.
    pub(crate) sums_leave: bool,
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

    /// Gradient sums cross a border only over enough workers that hold samples of the step.
    pub(super) fn check_contributors(
        &self,
        batches: &BatchPlan,
        zones: &[Vec<Rank>],
        step: Step,
        min: usize,
    ) -> Result<(), TrainFailure> {
        if !self.sums_leave {
            return Ok(());
        }
        let batch = batches.compose(step);
        let few = zones.iter().map(|ranks| batch.contributors(ranks)).find(|count| (1..min).contains(count));
        match few {
            Some(contributors) => Err(TrainFailure::FewContributors { step, contributors, min }),
            None => Ok(()),
        }
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
            Some(zone) if self.sums_leave => {
                Err(TrainFailure::FewRows { what, zone: zone.0.clone(), rows: rows(zone), min_rows })
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_rows_stay_in_their_zone() {
        let rows = |training, held_out| Floors {
            sums_leave: true,
            zones: vec![(ZoneId::new("here").unwrap(), training, held_out)],
        };
        assert!(rows(29, 30).check_statistics(30).is_err());
        assert!(rows(29, 30).check_evaluation(30).is_ok());
        assert!(rows(30, 29).check_statistics(30).is_ok());
        assert!(rows(30, 29).check_evaluation(30).is_err());
        assert!(rows(0, 0).check_statistics(30).is_ok());
        assert!(Floors { sums_leave: false, ..rows(29, 29) }.check_statistics(30).is_ok());
    }
}
