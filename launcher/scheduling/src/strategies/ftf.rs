//! Finish-time fairness: the largest ratio of a job's finish time to that in an even division is as small as can be.
//!
//! Source: Mahajan et al., "Themis: fair and efficient GPU cluster scheduling", NSDI 2020, in the form of Narayanan et
//! al., OSDI 2020, section 4.2. For a given ratio each job needs a speed, so the smallest ratio is found by bisection.

use super::shares::{Demand, Divide, Fractions, Progress, proportional};
use crate::solver::SolverError;

#[derive(Debug, Clone, Copy)]
pub(super) struct FinishTimeFair;

/// The ratio is found to this accuracy.
const ACCURACY: f64 = 1.01;
/// Ratios beyond it are not told apart.
const LARGEST: f64 = 1e6;

impl Divide for FinishTimeFair {
    fn divide(&self, demand: &Demand) -> Result<Fractions, SolverError> {
        let even = demand.even_speeds();
        // When each job would be done, counted from its submission, in an even division from now on.
        let ends: Vec<f64> =
            demand.jobs.iter().zip(&even).map(|(job, even)| job.elapsed + job.left / even).collect();
        // No ratio makes up for time that is gone.
        let gone = demand.jobs.iter().zip(&ends).map(|(job, end)| job.elapsed / end).fold(0.0, f64::max);
        let speeds = |ratio: f64| -> Vec<f64> {
            let speed = |(job, end): (&super::shares::Asking, &f64)| {
                job.left / (ratio * end - job.elapsed).max(job.left / LARGEST)
            };
            demand.jobs.iter().zip(&ends).map(speed).collect()
        };
        // The even division has ratio one, so it is an upper bound.
        let (mut low, mut high) = (gone, 1.0_f64.max(gone * ACCURACY));
        let mut best = proportional(demand, &speeds(high), Progress::Preferred)?.0;
        while high > low * ACCURACY && high > 1e-3 {
            let middle = f64::midpoint(low, high);
            let (fractions, reached) = proportional(demand, &speeds(middle), Progress::Preferred)?;
            if reached >= 1.0 {
                (high, best) = (middle, fractions);
            } else {
                low = middle;
            }
        }
        Ok(best)
    }
}

#[cfg(test)]
mod tests {
    use super::super::shares::tests::{assert_near, assert_possible, demand};
    use super::*;

    #[test]
    fn a_job_that_has_waited_long_catches_up() {
        let mut demand = demand(&[1.0], &[(1.0, 1.0, &[1.0]), (1.0, 1.0, &[1.0])]);
        (demand.jobs[0].left, demand.jobs[1].left) = (1_000.0, 1_000.0);
        assert_near(&FinishTimeFair.divide(&demand).unwrap(), &[&[0.5], &[0.5]]);
        // What one gains over the even division, the other loses.
        demand.jobs[1].elapsed = 6_000.0;
        let fractions = FinishTimeFair.divide(&demand).unwrap();
        assert_possible(&demand, &fractions);
        let ratio = |at: usize| {
            let job = &demand.jobs[at];
            (job.elapsed + job.left / fractions[at][0]) / (job.elapsed + job.left / 0.5)
        };
        assert!(ratio(0).max(ratio(1)) < 1.01, "{fractions:?}");
    }

    #[test]
    fn the_smallest_ratio_is_found() {
        let mut demand = demand(&[1.0], &[(1.0, 1.0, &[1.0])]);
        // Alone, it has all of the device in an even division as well: the ratio is one.
        demand.jobs[0].elapsed = 500.0;
        assert_near(&FinishTimeFair.divide(&demand).unwrap(), &[&[1.0]]);
    }

    #[test]
    fn models_that_suit_jobs_make_all_ratios_smaller() {
        let (one, other): (&[f64], &[f64]) = (&[4.0, 1.0], &[1.0, 4.0]);
        let demand = demand(&[1.0, 1.0], &[(1.0, 1.0, one), (1.0, 1.0, other)]);
        // Even speeds are 2.5, each alone on its best device has 4.
        let fractions = FinishTimeFair.divide(&demand).unwrap();
        assert!(fractions[0][0] > 0.98 && fractions[1][1] > 0.98, "{fractions:?}");
    }
}
