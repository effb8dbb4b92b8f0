//! Time as the thing that is divided: which fraction of its time each job runs on each pool.
//!
//! A gang runs within one pool. Jobs that are equal to the program become one set of variables with a multiplicity, so
//! that programs stay small however many jobs there are.

use std::collections::BTreeMap;
use std::fmt;

use crate::fleet::{Fleet, PoolIndex};
use crate::job::{JobIndex, Shape};
use crate::solver::{Program, SolverError, Variable};
use crate::state::{Job, State};
use crate::work::{Rate, Work};

/// Seconds of a microsecond count.
pub(super) fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}

/// A job as a division of time sees it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Asking {
    pub(super) job: JobIndex,
    pub(super) devices: f64,
    pub(super) weight: f64,
    /// By pool; zero where it cannot run.
    pub(super) rates: Vec<f64>,
    /// Estimated, in seconds at rate one.
    pub(super) left: f64,
    /// Since submission, in seconds.
    pub(super) elapsed: f64,
    /// Until its deadline, in seconds; at least one.
    pub(super) until_deadline: Option<f64>,
}

impl Asking {
    pub(super) fn best_rate(&self) -> f64 {
        self.rates.iter().copied().fold(0.0, f64::max)
    }
}

/// What is asked, and of what.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Demand {
    /// Devices by pool.
    pub(super) capacity: Vec<f64>,
    /// Dollars per device hour by pool, above zero.
    pub(super) prices: Vec<f64>,
    /// Those that can run anywhere at all.
    pub(super) jobs: Vec<Asking>,
}

impl Demand {
    /// `blind`: as if a job had the same speed wherever it can run.
    pub(super) fn of(state: &State, active: &[JobIndex], blind: bool) -> Demand {
        let pools: Vec<PoolIndex> = state.fleet.pool_indices().collect();
        let capacity = pools.iter().map(|pool| state.capacity().in_pool(*pool) as f64).collect();
        let prices = pools.iter().map(|pool| super::cost_slo::price(&state.fleet, *pool)).collect();
        let mut jobs: Vec<Asking> = active.iter().map(|job| asking(state, &pools, *job, blind)).collect();
        jobs.retain(|job| job.best_rate() > 0.0);
        Demand { capacity, prices, jobs }
    }

    /// The speed of each job if all devices were divided evenly, regardless of model: a job's part is its weight, over
    /// its allowed pools by their size, and never more than all of its time.
    pub(super) fn even_speeds(&self) -> Vec<f64> {
        let parts = self.even_parts();
        let speed = |(job, part): (&Asking, f64)| {
            let shares = self.even_shares(job);
            part * shares.iter().zip(&job.rates).map(|(share, rate)| share * rate).sum::<f64>()
        };
        self.jobs.iter().zip(parts).map(speed).collect()
    }

    /// Of its time, how much each job runs if all devices are divided evenly.
    pub(super) fn even_parts(&self) -> Vec<f64> {
        let all: f64 = self.capacity.iter().sum();
        let mut order: Vec<usize> = (0..self.jobs.len()).collect();
        let part = |index: usize| self.jobs[index].weight / self.jobs[index].devices;
        order.sort_by(|a, b| part(*b).total_cmp(&part(*a)));
        // Whoever asks for less than an equal part leaves the rest to the others.
        let (mut left, mut weights) = (all, self.jobs.iter().map(|job| job.weight).sum::<f64>());
        let mut parts = vec![0.0; self.jobs.len()];
        for index in order {
            let job = &self.jobs[index];
            parts[index] = (left / weights * part(index)).min(1.0);
            left -= parts[index] * job.devices;
            weights -= job.weight;
        }
        parts
    }

    /// How a job's time is spread over pools if models do not matter.
    pub(super) fn even_shares(&self, job: &Asking) -> Vec<f64> {
        let usable = || job.rates.iter().zip(&self.capacity).map(|(rate, devices)| (*rate > 0.0, devices));
        let all: f64 = usable().filter(|(usable, _)| *usable).map(|(_, devices)| devices).sum();
        usable().map(|(usable, devices)| if usable { devices / all } else { 0.0 }).collect()
    }
}

fn asking(state: &State, pools: &[PoolIndex], index: JobIndex, blind: bool) -> Asking {
    let (job, now) = (state.job(index), state.now());
    let rate = |pool: &PoolIndex| match rate_on(state, job, *pool) {
        Rate::ZERO => 0.0,
        _ if blind => 1.0,
        rate => rate.as_f64(),
    };
    Asking {
        job: index,
        devices: f64::from(job.spec.devices.requested),
        weight: job.spec.weight,
        rates: pools.iter().map(rate).collect(),
        left: job.estimated_left(now).as_secs_f64(),
        elapsed: seconds(now.since(job.spec.submit).0),
        until_deadline: job.spec.deadline.map(|deadline| seconds(deadline.since(now).0).max(1.0)),
    }
}

/// How fast a job is now on one pool, on as few nodes as it has; zero where it cannot run.
pub(super) fn rate_on(state: &State, job: &Job, pool: PoolIndex) -> Rate {
    let fits = u64::from(job.spec.devices.requested) <= state.capacity().in_pool(pool);
    if fits { full_rate_on(&state.fleet, job, job.done(state.now()), pool) } else { Rate::ZERO }
}

/// Whether a pool could run a job from its start if all its nodes were there.
pub(super) fn could_run(fleet: &Fleet, job: &Job, pool: PoolIndex) -> bool {
    let devices = fleet.devices_in([pool].into_iter().collect());
    u64::from(job.spec.devices.requested) <= devices
        && full_rate_on(fleet, job, Work::ZERO, pool) != Rate::ZERO
}

fn full_rate_on(fleet: &Fleet, job: &Job, done: Work, pool: PoolIndex) -> Rate {
    if !job.pools.contains(pool) {
        return Rate::ZERO;
    }
    let Some(speed) = &job.spec.speed else { return Rate::ONE };
    let (devices, pool) = (job.spec.devices.requested, fleet.pool(pool));
    let (whole, rest) = (devices / pool.devices_per_node, devices % pool.devices_per_node);
    let mut per_node: Vec<u32> = (0..whole).map(|_| pool.devices_per_node).collect();
    per_node.extend((rest > 0).then_some(rest));
    speed.stretch(done, &Shape { kind: pool.kind, per_node }).rate
}

/// The fractions of each job of a [`Demand`], by pool, in its order.
pub(super) type Fractions = Vec<Vec<f64>>;

/// Decides who runs where for which fraction of the time.
pub(super) trait Divide: fmt::Debug {
    /// # Errors
    /// If its program has no solution.
    fn divide(&self, demand: &Demand) -> Result<Fractions, SolverError>;

    /// Whether models are to be told apart.
    fn is_blind(&self) -> bool {
        false
    }

    /// Whether devices that nobody has a fraction of may be used by jobs that would wait otherwise.
    fn fills(&self) -> bool {
        true
    }
}

/// Jobs that share variables.
#[derive(Debug)]
pub(super) struct Group {
    /// Indices into [`Demand::jobs`].
    pub(super) members: Vec<usize>,
    /// The most that one of them needs.
    pub(super) need: f64,
    /// Devices of all members at the fraction that the neediest has.
    pub(super) devices: f64,
}

impl Group {
    pub(super) fn new(demand: &Demand, needs: &[f64], members: Vec<usize>) -> Group {
        let need = members.iter().map(|index| needs[*index]).fold(0.0, f64::max);
        let devices = members.iter().map(|index| demand.jobs[*index].devices * needs[*index] / need).sum();
        Group { members, need, devices }
    }
}

/// More groups than this are made fewer by taking needs of similar size together.
const EXACT_GROUPS: usize = 160;

/// Jobs alike in speed, devices and need. Within a group, fractions go by need; all members have the same mix of pools.
pub(super) fn groups(demand: &Demand, needs: &[f64]) -> Vec<Group> {
    let exact = group_by(demand, needs, |need| need.to_bits());
    if exact.len() <= EXACT_GROUPS {
        return exact;
    }
    // Half octaves: the exponent and the first bit of the mantissa.
    group_by(demand, needs, |need| need.to_bits() >> 51)
}

fn group_by(demand: &Demand, needs: &[f64], size: impl Fn(f64) -> u64) -> Vec<Group> {
    let mut members: BTreeMap<(Vec<u64>, u64, u64), Vec<usize>> = BTreeMap::new();
    for (index, (job, need)) in demand.jobs.iter().zip(needs).enumerate() {
        let rates = job.rates.iter().map(|rate| rate.to_bits()).collect();
        members.entry((rates, job.devices.to_bits(), size(*need))).or_default().push(index);
    }
    let mut groups: Vec<Group> =
        members.into_values().map(|members| Group::new(demand, needs, members)).collect();
    // In the order of their first members, which does not depend on bits.
    groups.sort_by_key(|group| group.members[0]);
    groups
}

/// The variables of groups: by group and pool, the fraction of the neediest member.
pub(super) struct Variables(Vec<Vec<Option<Variable>>>);

impl Variables {
    /// Adds them with the limits that hold for any division: no job has more than all of its time, no pool gives more
    /// devices than it has. `worth` is by group and pool.
    pub(super) fn add(
        program: &mut Program,
        demand: &Demand,
        groups: &[Group],
        worth: impl Fn(&Group, usize) -> f64,
    ) -> Variables {
        let mut variables = Vec::new();
        for group in groups {
            let rates = &demand.jobs[group.members[0]].rates;
            let of_pool = |(pool, rate): (usize, &f64)| {
                (*rate > 0.0).then(|| program.real(worth(group, pool), 0.0, 1.0))
            };
            let row: Vec<Option<Variable>> = rates.iter().enumerate().map(of_pool).collect();
            let terms: Vec<_> = row.iter().flatten().map(|variable| (*variable, 1.0)).collect();
            program.at_most(&terms, 1.0);
            variables.push(row);
        }
        for (pool, devices) in demand.capacity.iter().enumerate() {
            let users = variables.iter().zip(groups);
            let terms: Vec<_> = users
                .filter_map(|(row, group)| row[pool].map(|variable| (variable, group.devices)))
                .collect();
            if !terms.is_empty() {
                program.at_most(&terms, *devices);
            }
        }
        Variables(variables)
    }

    /// A group's speed, in multiples of `unit`, as terms of a row.
    pub(super) fn speed(
        &self,
        demand: &Demand,
        groups: &[Group],
        group: usize,
        unit: f64,
    ) -> Vec<(Variable, f64)> {
        let rates = &demand.jobs[groups[group].members[0]].rates;
        let row = self.0[group].iter().zip(rates);
        row.filter_map(|(variable, rate)| variable.map(|variable| (variable, rate / unit))).collect()
    }

    /// Each member's fractions: those of the neediest, by its own need.
    pub(super) fn fractions(
        &self,
        demand: &Demand,
        groups: &[Group],
        needs: &[f64],
        values: &crate::solver::Values,
    ) -> Fractions {
        let mut fractions = vec![Vec::new(); demand.jobs.len()];
        for (row, group) in self.0.iter().zip(groups) {
            for index in &group.members {
                let part = needs[*index] / group.need;
                let of_pool = |variable: &Option<Variable>| {
                    // Solvers leave a trace of nothing.
                    let value = variable.map_or(0.0, |variable| values[variable].clamp(0.0, 1.0) * part);
                    if value < 1e-7 { 0.0 } else { value }
                };
                fractions[*index] = row.iter().map(of_pool).collect();
            }
        }
        fractions
    }
}

/// What progress of all, counted in each job's best speed, is worth beside the ratio of whoever is worst off.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Progress {
    /// Nothing: any division with the best ratio will do.
    Ignored,
    /// Of the divisions with the best ratio, the one with the most; the ratio is within a thousandth of the best.
    Preferred,
}

/// Fractions for which the smallest ratio of speed to need is largest, with that ratio.
pub(super) fn proportional(
    demand: &Demand,
    needs: &[f64],
    progress: Progress,
) -> Result<(Fractions, f64), SolverError> {
    if demand.jobs.is_empty() {
        return Ok((Vec::new(), 0.0));
    }
    let groups = groups(demand, needs);
    let best = |group: &Group| demand.jobs[group.members[0]].best_rate();
    // The ratio is counted in its upper bounds by time and by devices, so that it is of the order of one.
    let by_time = groups.iter().map(|group| best(group) / group.need).fold(f64::INFINITY, f64::min);
    let busy: f64 = groups.iter().map(|group| group.devices * group.need / best(group)).sum();
    let bound = by_time.min(demand.capacity.iter().sum::<f64>() / busy);
    let jobs = demand.jobs.len() as f64;
    let weight = if progress == Progress::Preferred { 1e-3 } else { 0.0 };
    let mut program = Program::new();
    let ratio = program.real(1.0, 0.0, 1.0);
    let variables = Variables::add(&mut program, demand, &groups, |group, pool| {
        let rate = demand.jobs[group.members[0]].rates[pool];
        weight * group.members.len() as f64 / jobs * rate / best(group)
    });
    for (index, group) in groups.iter().enumerate() {
        let mut terms = variables.speed(demand, &groups, index, group.need * bound);
        terms.push((ratio, -1.0));
        program.at_least(&terms, 0.0);
    }
    let values = program.maximise(0.0)?;
    Ok((variables.fractions(demand, &groups, needs, &values), values[ratio] * bound))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// One job of each entry: devices, weight, rates.
    pub(crate) fn demand(capacity: &[f64], jobs: &[(f64, f64, &[f64])]) -> Demand {
        let asking = |(index, (devices, weight, rates)): (usize, &(f64, f64, &[f64]))| Asking {
            job: JobIndex::from_index(index),
            devices: *devices,
            weight: *weight,
            rates: rates.to_vec(),
            left: 3_600.0,
            elapsed: 0.0,
            until_deadline: None,
        };
        let prices = vec![1.0; capacity.len()];
        Demand { capacity: capacity.to_vec(), prices, jobs: jobs.iter().enumerate().map(asking).collect() }
    }

    pub(crate) fn assert_near(fractions: &[Vec<f64>], expected: &[&[f64]]) {
        for (got, expected) in fractions.iter().zip(expected) {
            let near = got.iter().zip(*expected).all(|(got, expected)| (got - expected).abs() < 1e-3);
            assert!(near, "{fractions:?}");
        }
    }

    /// No job has more than its time, no pool gives more than it has.
    pub(crate) fn assert_possible(demand: &Demand, fractions: &Fractions) {
        assert!(fractions.iter().all(|row| row.iter().sum::<f64>() < 1.0 + 1e-6), "{fractions:?}");
        for (pool, devices) in demand.capacity.iter().enumerate() {
            let used: f64 = demand.jobs.iter().zip(fractions).map(|(job, row)| job.devices * row[pool]).sum();
            assert!(used < devices + 1e-6, "pool {pool}: {used} of {devices}");
        }
    }

    #[test]
    fn an_even_division_fills_what_small_jobs_leave() {
        // Three devices for one gang of 4, which gets 3/4 of its time at most, and a single device job.
        let demand = demand(&[1.0, 2.0], &[(1.0, 1.0, &[1.0, 1.0]), (4.0, 1.0, &[1.0, 1.0])]);
        assert_eq!(demand.even_parts(), [1.0, 0.5]);
        assert_eq!(demand.even_shares(&demand.jobs[0]), [1.0 / 3.0, 2.0 / 3.0]);
    }

    #[test]
    fn alike_jobs_share_variables_and_many_needs_are_taken_together() {
        let rates: &[f64] = &[1.0, 2.0];
        let demand = demand(&[4.0, 4.0], &vec![(1.0, 1.0, rates); 1_000]);
        assert_eq!(groups(&demand, &[1.0; 1_000]).len(), 1);
        let needs: Vec<f64> = (1..=1_000).map(f64::from).collect();
        assert_eq!(groups(&demand, &needs).len(), 19, "half octaves of 1..1000, of which 1.5..2 is empty");
        let (fractions, ratio) = proportional(&demand, &needs, Progress::Preferred).unwrap();
        assert_possible(&demand, &fractions);
        // 12 units of speed for 500,500 units of need.
        assert!((ratio * 500_500.0 / 12.0 - 1.0).abs() < 2e-3, "{ratio}");
        for (row, need) in fractions.iter().zip(&needs) {
            let speed = row[0] + 2.0 * row[1];
            assert!(speed / need > ratio * 0.999, "{speed} for {need}");
        }
    }
}
