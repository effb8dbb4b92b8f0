//! One job's situation, as far as spot strategies need it.

use hcrun_protocol::time::{Span, Time};

use super::GRACE;
use crate::fleet::{PoolIndex, PoolSet};
use crate::job::Shape;
use crate::state::{Job, State};
use crate::work::Rate;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum On {
    Nothing,
    Spot,
    Steady,
}

/// Lengths are times on `devices`, by the job's estimate.
#[derive(Debug, Clone, PartialEq)]
pub struct View {
    pub now: Time,
    pub on: On,
    pub devices: u32,
    /// The job's spot pools, and those of them that have room for it.
    pub spot: PoolSet,
    pub spot_with_room: PoolSet,
    /// All work, and what is left of it.
    pub work: Span,
    pub left: Span,
    /// From submission to the deadline, and what is left of it.
    pub window: Span,
    pub until_deadline: Span,
    /// What could be wasted from now on if all that is held were lost at once, before the devices that are reserved for the
    /// job must be taken.
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
