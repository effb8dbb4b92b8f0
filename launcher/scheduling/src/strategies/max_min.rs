//! Max-min fairness over models of different speed: the job that is worst off, beside an even division, is as well off as
//! can be.
//!
//! Source: Narayanan et al., "Heterogeneity-aware cluster scheduling policies for deep learning workloads", OSDI 2020,
//! section 4.1 ("LAS" there: rounds go to those that had least).

use super::shares::{Demand, Divide, Fractions, Progress, proportional};
use crate::solver::SolverError;

/// A job needs its speed in an even division, which counts its weight and its devices: it is never worse off than there.
/// (The authors' program counts both once more.)
#[derive(Debug, Clone, Copy)]
pub(super) struct MaxMin(pub(super) Progress);

impl Divide for MaxMin {
    fn divide(&self, demand: &Demand) -> Result<Fractions, SolverError> {
        Ok(proportional(demand, &demand.even_speeds(), self.0)?.0)
    }
}

/// As if all devices were alike. Then the even division is the fairest, and no program is needed.
#[derive(Debug, Clone, Copy)]
pub(super) struct MaxMinBlind;

impl Divide for MaxMinBlind {
    fn divide(&self, demand: &Demand) -> Result<Fractions, SolverError> {
        Ok(super::rounds::even(demand))
    }

    fn is_blind(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::super::shares::tests::{assert_near, assert_possible, demand};
    use super::*;

    #[test]
    fn fast_devices_go_to_the_jobs_that_gain_from_them() {
        let (gains, does_not): (&[f64], &[f64]) = (&[4.0, 1.0], &[1.0, 1.0]);
        let demand = demand(
            &[1.0, 1.0],
            &[(1.0, 1.0, gains), (1.0, 1.0, gains), (1.0, 1.0, does_not), (1.0, 1.0, does_not)],
        );
        let fractions = MaxMin(Progress::Preferred).divide(&demand).unwrap();
        // Even speeds are 1.25 and 0.5. The others take the slow device and y of the fast one each:
        // (0.5 + y) / 0.5 = 4 (0.5 - y) / 1.25 at y = 3/26.
        let (fast, rest): (&[f64], &[f64]) = (&[10.0 / 26.0, 0.0], &[3.0 / 26.0, 0.5]);
        assert_near(&fractions, &[fast, fast, rest, rest]);
        assert_possible(&demand, &fractions);
    }

    #[test]
    fn a_job_that_can_use_one_model_only_gets_it() {
        let demand = demand(&[1.0, 1.0], &[(1.0, 1.0, &[2.0, 1.0]), (1.0, 1.0, &[1.0, 0.0])]);
        // Even speeds: 1.5 and 1. With y of the fast pool for the second: ((1 - y) 2 + y) / 1.5 = y at y = 0.8.
        let fractions = MaxMin(Progress::Preferred).divide(&demand).unwrap();
        assert_near(&fractions, &[&[0.2, 0.8], &[0.8, 0.0]]);
    }

    #[test]
    fn equal_jobs_get_equal_parts_and_weights_count() {
        let rates: &[f64] = &[3.0, 1.0];
        let equal = demand(&[1.0, 2.0], &[(1.0, 1.0, rates); 6]);
        let fractions = MaxMin(Progress::Preferred).divide(&equal).unwrap();
        let part: &[f64] = &[1.0 / 6.0, 2.0 / 6.0];
        assert_near(&fractions, &[part; 6]);
        let weighted = demand(&[1.0], &[(1.0, 1.0, &[1.0]), (1.0, 3.0, &[1.0])]);
        let fractions = MaxMin(Progress::Preferred).divide(&weighted).unwrap();
        assert_near(&fractions, &[&[0.25], &[0.75]]);
    }

    #[test]
    fn a_gang_gets_its_part_in_devices() {
        let blind =
            demand(&[2.0, 2.0], &[(4.0, 1.0, &[1.0, 1.0]), (1.0, 1.0, &[1.0, 1.0]), (1.0, 1.0, &[1.0, 1.0])]);
        let fractions = MaxMinBlind.divide(&blind).unwrap();
        assert_near(&fractions, &[&[0.25, 0.25], &[0.5, 0.5], &[0.5, 0.5]]);
        assert_possible(&blind, &fractions);
    }
}
