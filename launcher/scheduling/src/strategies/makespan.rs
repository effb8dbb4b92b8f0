//! The last job done as early as can be: each job's speed in proportion to what it still has to do.
//!
//! Source: Narayanan et al., "Heterogeneity-aware cluster scheduling policies for deep learning workloads", OSDI 2020,
//! section 4.2. Its authors look for the shortest time by bisection; it is the reciprocal of a ratio that one program finds.

use super::shares::{Demand, Divide, Fractions, Progress, proportional};
use crate::solver::SolverError;

#[derive(Debug, Clone, Copy)]
pub(super) struct Makespan;

impl Divide for Makespan {
    fn divide(&self, demand: &Demand) -> Result<Fractions, SolverError> {
        let left: Vec<f64> = demand.jobs.iter().map(|job| job.left).collect();
        Ok(proportional(demand, &left, Progress::Preferred)?.0)
    }
}

#[cfg(test)]
mod tests {
    use super::super::shares::tests::{assert_near, assert_possible, demand};
    use super::*;

    #[test]
    fn all_jobs_end_together() {
        let mut demand = demand(&[1.0], &[(1.0, 1.0, &[1.0]), (1.0, 1.0, &[1.0])]);
        (demand.jobs[0].left, demand.jobs[1].left) = (100.0, 300.0);
        assert_near(&Makespan.divide(&demand).unwrap(), &[&[0.25], &[0.75]]);
    }

    #[test]
    fn the_longest_job_has_the_fastest_device_all_the_time() {
        let rates: &[f64] = &[2.0, 1.0];
        let mut demand = demand(&[1.0, 1.0], &[(1.0, 1.0, rates), (1.0, 1.0, rates)]);
        // 1,000 units take 500 s on the fast device; the other has time enough on the slow one.
        (demand.jobs[0].left, demand.jobs[1].left) = (1_000.0, 100.0);
        let fractions = Makespan.divide(&demand).unwrap();
        assert_near(&fractions[..1], &[&[1.0, 0.0]]);
        assert!(fractions[1][1] > 0.2 - 1e-3, "{fractions:?}");
        assert_possible(&demand, &fractions);
    }
}
