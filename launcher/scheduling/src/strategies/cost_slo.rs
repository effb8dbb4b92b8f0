//! Most work per dollar, with deadlines met.
//!
//! Source: Narayanan et al., "Heterogeneity-aware cluster scheduling policies for deep learning workloads", OSDI 2020,
//! section 4.2. Where not all deadlines can be met, its authors drop all of them; here as much is met of each as can be.

use super::shares::{Asking, Demand, Divide, Fractions, Group, Variables, groups};
use crate::fleet::{Fleet, PoolIndex};
use crate::solver::{Program, SolverError};

#[derive(Debug, Clone, Copy)]
pub(super) struct CostSlo;

/// What a whole deadline counts beside all work per dollar together.
const DEADLINE: f64 = 1e3;

/// Dollars per device hour; where no prices are known, all pools are as dear.
pub(super) fn price(fleet: &Fleet, pool: PoolIndex) -> f64 {
    // What is free is not worth infinitely much.
    fleet.costs.weight(pool).max(1e-6)
}

fn work_per_dollar(demand: &Demand, index: usize, pool: usize) -> f64 {
    demand.jobs[index].rates[pool] / demand.prices[pool]
}

impl Divide for CostSlo {
    fn divide(&self, demand: &Demand) -> Result<Fractions, SolverError> {
        if demand.jobs.is_empty() {
            return Ok(Vec::new());
        }
        // A job without a deadline needs no speed; it shares variables with others of its kind.
        let needs: Vec<f64> = demand.jobs.iter().map(|job| needed_speed(job).unwrap_or(1.0)).collect();
        let has_deadline = |index: usize| needed_speed(&demand.jobs[index]).is_some();
        let mut groups = groups(demand, &needs);
        // Jobs with and without a deadline do not share variables.
        for at in 0..groups.len() {
            let (with, without): (Vec<usize>, Vec<usize>) =
                groups[at].members.iter().partition(|index| has_deadline(**index));
            if !with.is_empty() && !without.is_empty() {
                let split = Group::new(demand, &needs, without);
                groups[at] = Group::new(demand, &needs, with);
                groups.push(split);
            }
        }
        let pools = 0..demand.capacity.len();
        let best = |job| pools.clone().map(|pool| work_per_dollar(demand, job, pool)).fold(0.0, f64::max);
        let all: f64 = (0..demand.jobs.len()).map(best).sum();
        let mut program = Program::new();
        let variables = Variables::add(&mut program, demand, &groups, |group, pool| {
            let members = group.members.iter();
            let parts = members.map(|index| work_per_dollar(demand, *index, pool) * needs[*index]);
            parts.sum::<f64>() / group.need / all
        });
        for (index, group) in groups.iter().enumerate() {
            if has_deadline(group.members[0]) {
                let met = program.real(DEADLINE, 0.0, 1.0);
                let mut terms = variables.speed(demand, &groups, index, group.need);
                terms.push((met, -1.0));
                program.at_least(&terms, 0.0);
            }
        }
        let values = program.maximise(0.0)?;
        Ok(variables.fractions(demand, &groups, &needs, &values))
    }

    /// A device that is not worth its price stays free.
    fn fills(&self) -> bool {
        false
    }
}

/// For its deadline, where it has one that can still be met.
fn needed_speed(job: &Asking) -> Option<f64> {
    job.until_deadline.map(|time| job.left / time).filter(|speed| *speed <= job.best_rate())
}

#[cfg(test)]
mod tests {
    use super::super::shares::tests::{assert_near, assert_possible, demand};
    use super::*;

    #[test]
    fn work_goes_where_a_dollar_does_most() {
        // The fast pool is twice as fast and four times as expensive.
        let rates: &[f64] = &[2.0, 1.0];
        let mut demand = demand(&[1.0, 1.0], &[(1.0, 1.0, rates)]);
        demand.prices = vec![4.0, 1.0];
        assert_near(&CostSlo.divide(&demand).unwrap(), &[&[0.0, 1.0]]);
        demand.prices = vec![1.5, 1.0];
        assert_near(&CostSlo.divide(&demand).unwrap(), &[&[1.0, 0.0]]);
    }

    #[test]
    fn a_deadline_buys_as_much_of_the_fast_pool_as_it_needs() {
        let rates: &[f64] = &[2.0, 1.0];
        let mut demand = demand(&[1.0, 1.0], &[(1.0, 1.0, rates)]);
        demand.prices = vec![4.0, 1.0];
        demand.jobs[0].left = 1_500.0;
        demand.jobs[0].until_deadline = Some(1_000.0);
        assert_near(&CostSlo.divide(&demand).unwrap(), &[&[0.5, 0.5]]);
        // It cannot be met any more: back to what is cheapest.
        demand.jobs[0].until_deadline = Some(500.0);
        assert_near(&CostSlo.divide(&demand).unwrap(), &[&[0.0, 1.0]]);
    }

    #[test]
    fn deadlines_go_before_jobs_that_have_none() {
        let mut demand = demand(&[1.0], &[(1.0, 1.0, &[1.0]), (1.0, 1.0, &[3.0])]);
        demand.jobs[0].left = 800.0;
        demand.jobs[0].until_deadline = Some(1_000.0);
        let fractions = CostSlo.divide(&demand).unwrap();
        assert_near(&fractions, &[&[0.8], &[0.2]]);
        assert_possible(&demand, &fractions);
    }
}
