//! From fractions of time to who runs in this round: whoever has had least of its fraction goes first.
//!
//! Fractions are computed again when jobs came or went, but not more often than every few rounds, so that they can take
//! effect. Source: Narayanan et al., "Heterogeneity-aware cluster scheduling policies for deep learning workloads", OSDI
//! 2020, section 5; the intervals are those of its authors' simulator.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use hcrun_protocol::time::{Span, Time};

use super::shares::{Demand, Divide, Fractions, rate_on, seconds};
use crate::fleet::{PoolIndex, PoolSet};
use crate::job::JobIndex;
use crate::state::{Job, State};
use crate::strategy::{Key, Size, Want};
use crate::work::Rate;

/// How long a round is.
pub(super) const ROUND: Span = Span::from_secs(360);
/// How long fractions hold at least.
const HOLD: Span = Span::from_secs(1_920);

/// One job's claims.
#[derive(Debug, Clone, Default)]
struct Account {
    /// By pool; empty until the job is part of a division.
    fractions: Vec<f64>,
    /// Seconds by pool since the last division.
    received: Vec<f64>,
    /// Seconds by pool that earlier divisions promised and rounds did not give.
    owed: Vec<f64>,
}

/// A joint decision in rounds over the fractions that `divide` finds.
#[derive(Debug)]
pub(super) struct Rounds<D> {
    divide: D,
    accounts: BTreeMap<JobIndex, Account>,
    chosen: BTreeMap<JobIndex, PoolIndex>,
    /// Of the last division.
    divided: Option<Time>,
    /// Jobs and devices of the last division.
    divided_among: (Vec<JobIndex>, u64),
    /// Of the last decision.
    decided: Time,
    round: u64,
}

impl<D: Divide> Rounds<D> {
    pub(super) fn new(divide: D) -> Rounds<D> {
        Rounds {
            divide,
            accounts: BTreeMap::new(),
            chosen: BTreeMap::new(),
            divided: None,
            divided_among: (Vec::new(), 0),
            decided: Time::ZERO,
            round: 0,
        }
    }

    /// Adds up what running jobs had since the last decision.
    fn account(&mut self, state: &State) {
        let (now, pools) = (state.now(), state.fleet.pools.len());
        for index in state.running() {
            let job = state.job(index);
            let account = self.accounts.entry(index).or_default();
            account.received.resize(pools, 0.0);
            let held = seconds(now.since(job.since.max(self.decided)).0);
            if let Some(pool) = pool_of(state, job) {
                account.received[usize::from(pool.0)] += held;
            }
        }
        self.decided = now;
    }

    fn has_changed(&self, state: &State, active: &[JobIndex]) -> bool {
        let (jobs, devices) = &self.divided_among;
        jobs != active || *devices != state.capacity().total()
    }

    fn is_due(&self, now: Time) -> bool {
        self.divided.is_none_or(|divided| now.since(divided) >= HOLD)
    }

    fn divide(&mut self, state: &State, active: &[JobIndex]) {
        let demand = Demand::of(state, active, self.divide.is_blind());
        // A program without a solution is a defect of its strategy; jobs still get their even parts.
        let fractions = self.divide.divide(&demand).unwrap_or_else(|_| even(&demand));
        let now = state.now();
        let past = self.divided.map_or(0.0, |divided| seconds(now.since(divided).0));
        let pools = demand.capacity.len();
        let mut before = std::mem::take(&mut self.accounts);
        for (asking, fractions) in demand.jobs.iter().zip(fractions) {
            let mut account = before.remove(&asking.job).unwrap_or_default();
            account.received.resize(pools, 0.0);
            account.owed.resize(pools, 0.0);
            account.fractions.resize(pools, 0.0);
            for pool in 0..pools {
                account.owed[pool] += account.fractions[pool] * past - account.received[pool];
                account.received[pool] = 0.0;
            }
            account.fractions = fractions;
            self.accounts.insert(asking.job, account);
        }
        self.divided = Some(now);
        self.divided_among = (active.to_vec(), state.capacity().total());
    }

    /// Fills pools, the fastest first, with those that had least of their fraction, then with those that wait otherwise.
    /// Returns whether a job waits for which there is room.
    fn choose(&mut self, state: &State, active: &[JobIndex]) -> bool {
        self.chosen.clear();
        let mut left: Vec<u64> =
            state.fleet.pool_indices().map(|pool| state.capacity().in_pool(pool)).collect();
        let rates = self.rates(state, active);
        let order = self.order(&rates, left.len());
        for (index, pool) in
            active.iter().filter_map(|index| Some((index, just_begun(state, state.job(*index))?)))
        {
            let devices = u64::from(state.job(*index).allocation.devices());
            if let Some(rest) = left[pool.index()].checked_sub(devices) {
                left[pool.index()] = rest;
                self.chosen.insert(*index, pool);
            }
        }
        for pool in &order {
            let claims = self.claims(active, &rates, *pool);
            self.take(state, *pool, claims, &mut left[usize::from(pool.0)]);
        }
        if self.divide.fills() {
            for pool in &order {
                let room = &mut left[usize::from(pool.0)];
                self.take(state, *pool, able(active, &rates, *pool), room);
            }
        }
        let waits = |(index, rates): (&JobIndex, &Vec<Rate>)| {
            let devices = u64::from(state.job(*index).spec.devices.requested);
            let fits = |(rate, left): (&Rate, &u64)| *rate != Rate::ZERO && devices <= *left;
            !self.chosen.contains_key(index) && rates.iter().zip(&left).any(fits)
        };
        active.iter().zip(&rates).any(waits)
    }

    fn take(&mut self, state: &State, pool: PoolIndex, line: Vec<JobIndex>, left: &mut u64) {
        for index in line {
            let devices = u64::from(state.job(index).spec.devices.requested);
            if devices <= *left && !self.chosen.contains_key(&index) {
                self.chosen.insert(index, pool);
                *left -= devices;
            }
        }
    }

    /// Those with a fraction of `pool`, least served first.
    fn claims(&self, active: &[JobIndex], rates: &[Vec<Rate>], pool: PoolIndex) -> Vec<JobIndex> {
        let pool = usize::from(pool.0);
        let claim = |(index, rates): (&JobIndex, &Vec<Rate>)| {
            let account = self.accounts.get(index)?;
            let fraction = account.fractions.get(pool).copied().filter(|fraction| *fraction > 0.0)?;
            // Half a round more than it had: newcomers go by their fractions.
            let priority = fraction / (account.received[pool] + seconds(ROUND.0) / 2.0);
            let rank = [priority, account.owed[pool], fraction].map(|number| Reverse(Key::from_f64(number)));
            (rates[pool] != Rate::ZERO).then_some((rank, *index))
        };
        let mut claims: Vec<_> = active.iter().zip(rates).filter_map(claim).collect();
        claims.sort_unstable();
        claims.into_iter().map(|(_, index)| index).collect()
    }

    /// By job and pool.
    fn rates(&self, state: &State, active: &[JobIndex]) -> Vec<Vec<Rate>> {
        let pools: Vec<PoolIndex> = state.fleet.pool_indices().collect();
        let of_job = |job: &Job| pools.iter().map(|pool| rate_on(state, job, *pool)).collect();
        active.iter().map(|index| of_job(state.job(*index))).collect()
    }

    /// Pools by the mean speed of active jobs, fastest first; taking turns if models are not told apart.
    fn order(&mut self, rates: &[Vec<Rate>], pools: usize) -> Vec<PoolIndex> {
        let mut order: Vec<PoolIndex> = (0u8..).take(pools).map(PoolIndex).collect();
        self.round += 1;
        if self.divide.is_blind() {
            let first = usize::try_from(self.round % pools as u64).unwrap_or(0);
            order.rotate_left(first);
            return order;
        }
        let speed = |pool: &PoolIndex| -> u128 {
            let relative = rates.iter().map(|rates| {
                let best = rates.iter().map(|rate| u128::from(rate.0)).max().unwrap_or(0).max(1);
                u128::from(rates[usize::from(pool.0)].0) * 1_000_000 / best
            });
            relative.sum()
        };
        order.sort_by_cached_key(|pool| Reverse(speed(pool)));
        order
    }
}

impl<D: Divide> Size for Rounds<D> {
    fn is_joint(&self) -> bool {
        true
    }

    fn prepare(&mut self, state: &State, active: &[(JobIndex, PoolSet)]) {
        let active: Vec<JobIndex> = active.iter().map(|(index, _)| *index).collect();
        let active = active.as_slice();
        self.account(state);
        let changed = self.has_changed(state, active);
        if changed && self.is_due(state.now()) {
            self.divide(state, active);
            self.choose(state, active);
        } else if self.choose(state, active) && changed {
            // What was freed is not left idle until the next division.
            self.divide(state, active);
            self.choose(state, active);
        }
    }

    fn size(&self, _state: &State, index: JobIndex, job: &Job) -> Result<Want, &'static str> {
        let pool = self.chosen.get(&index).ok_or("other jobs have had less of their share of time")?;
        let pools: PoolSet = [*pool].into_iter().collect();
        Ok(Want { devices: job.spec.devices.requested, pools })
    }
}

/// The pool of a job whose start has not paid yet: one that is moved each round, and starts for longer than that, would
/// never train.
fn just_begun(state: &State, job: &Job) -> Option<PoolIndex> {
    let start = job.ready().since(job.since);
    (start > Span(0) && state.now() < job.ready() + ROUND).then(|| pool_of(state, job)).flatten()
}

/// Those that can run on `pool` at all.
fn able(active: &[JobIndex], rates: &[Vec<Rate>], pool: PoolIndex) -> Vec<JobIndex> {
    let jobs = active.iter().zip(rates).filter(|(_, rates)| rates[usize::from(pool.0)] != Rate::ZERO);
    jobs.map(|(index, _)| *index).collect()
}

fn pool_of(state: &State, job: &Job) -> Option<PoolIndex> {
    job.allocation.parts().first().map(|(node, _)| state.fleet.node(*node).pool)
}

pub(super) fn even(demand: &Demand) -> Fractions {
    let spread = |(job, part)| demand.even_shares(job).into_iter().map(|share| share * part).collect();
    demand.jobs.iter().zip(demand.even_parts()).map(spread).collect()
}
