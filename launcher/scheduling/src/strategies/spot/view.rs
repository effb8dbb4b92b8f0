//! One job's situation, as far as spot strategies need it.

use hcrun_protocol::time::{Span, Time};

use super::{GRACE, of_terms};
use crate::fleet::{PoolIndex, PoolSet, Terms};
use crate::job::Shape;
use crate::state::{Job, Phase, State};
use crate::work::Rate;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum On {
    Nothing,
    Spot,
    Steady,
}

/// Lengths are times on the requested devices, by the job's estimate.
#[derive(Debug, Clone, PartialEq)]
pub struct View {
    pub now: Time,
    pub on: On,
    pub devices: u32,
    /// The job's spot pools, and those of them that have room for it.
    pub spot: PoolSet,
    pub spot_with_room: PoolSet,
    pub steady: PoolSet,
    /// All work, and what is left of it.
    pub work: Span,
    pub left: Span,
    /// From submission to the deadline, and what is left of it.
    pub window: Span,
    pub until_deadline: Span,
    /// What could be wasted from now on if all that is held were lost at once; zero: devices that stay must be taken now.
    pub margin: Span,
    /// From asking to the first step.
    pub over_spot: Span,
    pub over_steady: Span,
    /// Most that a loss takes back.
    pub at_risk: Span,
    /// Of a device hour, in any unit.
    pub price_spot: f64,
    pub price_steady: f64,
}

impl View {
    /// None for a job without a deadline, or without spot pools.
    pub fn of(state: &State, job: &Job) -> Option<View> {
        let deadline = job.spec.deadline?;
        let (now, fleet) = (state.now(), &state.fleet);
        let spot = job.pools.and(of_terms(state, Terms::Spot));
        if spot.is_empty() {
            return None;
        }
        let steady = PoolSet(job.pools.0 & !spot.0);
        let devices = job.spec.devices.requested;
        let held_in = |pool: PoolIndex| -> u64 {
            let parts = job.allocation.parts().iter().filter(|(node, _)| fleet.node(*node).pool == pool);
            parts.map(|(_, devices)| u64::from(*devices)).sum()
        };
        let room = |pool: &PoolIndex| state.free().in_pool(*pool) + held_in(*pool) >= u64::from(devices);
        let spot_with_room = fleet.pool_indices().filter(|pool| spot.contains(*pool)).filter(room).collect();
        let on = match job.phase {
            Phase::Running if fleet.pool_indices().any(|pool| spot.contains(pool) && held_in(pool) > 0) => {
                On::Spot
            }
            Phase::Running => On::Steady,
            _ => On::Nothing,
        };
        let rate = steady_rate(state, job, steady, devices);
        let left_work = job.estimated_left(now);
        let left = left_work.time_at(rate);
        let lost = if on == On::Spot { job.done(now) - job.kept(now, Span(0)) } else { crate::Work::ZERO };
        let longest = |pools: PoolSet| {
            let chosen = fleet.pool_indices().filter(|pool| pools.contains(*pool));
            chosen.map(|pool| fleet.pool(pool).provisioning).max().unwrap_or(Span(0))
                + job.spec.start_overhead
        };
        let (over_spot, over_steady) = (longest(spot), longest(steady));
        let until_deadline = deadline.since(now);
        // What still has to pass before the first step on what it holds counts like work.
        let needed = match on {
            On::Steady => left + job.ready().since(now),
            On::Spot | On::Nothing => (left_work + lost).time_at(rate) + over_steady,
        };
        let cheapest = |pools: PoolSet| {
            let chosen = fleet.pool_indices().filter(|pool| pools.contains(*pool));
            chosen.map(|pool| fleet.costs.weight(pool)).fold(f64::INFINITY, f64::min)
        };
        Some(View {
            now,
            on,
            devices,
            spot,
            spot_with_room,
            steady,
            work: job.spec.estimate.time_at(rate),
            left,
            window: deadline.since(job.spec.submit),
            until_deadline,
            margin: until_deadline.saturating_sub(needed),
            over_spot,
            over_steady,
            at_risk: job.spec.checkpoint_interval,
            price_spot: cheapest(spot),
            price_steady: cheapest(steady),
        })
    }

    pub fn spot_is_up(&self) -> bool {
        !self.spot_with_room.is_empty()
    }

    /// Whether a job that holds nothing can start on spot, be lost at any moment, and still meet its deadline.
    pub fn may_start_spot(&self) -> bool {
        let reserve = if self.on == On::Steady { self.over_steady } else { Span(0) };
        let wasted = self.over_spot + self.at_risk + Span(2 * GRACE.0) + reserve;
        self.spot_is_up() && self.margin >= wasted
    }

    /// Whether a job may give up devices that stay, and still get them back in time.
    pub fn may_leave_steady(&self) -> bool {
        self.margin >= self.over_steady + Span(2 * GRACE.0)
    }

    /// How long the job may do nothing, or run on spot, from now on.
    pub fn until_last_moment(&self) -> Span {
        let reserve = if self.on == On::Steady { self.over_steady } else { Span(0) };
        self.margin.saturating_sub(GRACE + reserve)
    }
}

fn steady_rate(state: &State, job: &Job, steady: PoolSet, devices: u32) -> Rate {
    let pool = state.fleet.pool_indices().find(|pool| steady.contains(*pool));
    pool.map_or(Rate::ONE, |pool| rate_in(state, job, pool, devices))
}

/// On so many devices of one pool, packed.
pub(crate) fn rate_in(state: &State, job: &Job, pool: PoolIndex, devices: u32) -> Rate {
    let Some(speed) = &job.spec.speed else { return Rate::ONE };
    let (pool, mut left, mut per_node) = (state.fleet.pool(pool), devices, Vec::new());
    while left > 0 {
        let here = left.min(pool.devices_per_node);
        per_node.push(here);
        left -= here;
    }
    speed.stretch(job.done(state.now()), &Shape { kind: pool.kind, per_node }).rate
}
