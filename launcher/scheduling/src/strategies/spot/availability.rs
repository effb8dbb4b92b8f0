//! What was seen of spot capacity so far: how often it goes, how long until it is back.

use std::collections::BTreeMap;

use hcrun_protocol::time::Time;

use super::view::View;
use crate::fleet::{PoolIndex, PoolSet};
use crate::state::State;

/// Events per hour of one gang, estimated with a prior.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rates {
    /// Room for the gang goes, of the time that there is some.
    pub fall: f64,
    /// Room comes back, of the time that there is none.
    pub rise: f64,
    /// The gang loses a device while there still is room for it elsewhere, of the time that there is room.
    pub hit: f64,
}

/// Follows room for gangs of some sizes in some pools.
#[derive(Debug, Default)]
pub struct Availability(BTreeMap<(PoolSet, u32), Seen>);

#[derive(Debug, Clone)]
struct Seen {
    up: bool,
    at: Time,
    devices: u64,
    fall: Counted,
    rise: Counted,
    hit: Counted,
}

/// Events and the hours in which they could happen: all of them, and those not long ago.
#[derive(Debug, Clone, Copy, Default)]
struct Counted {
    events: f64,
    hours: f64,
    recent_events: f64,
    recent_hours: f64,
}

impl Counted {
    fn pass(&mut self, hours: f64, exposed: bool) {
        let kept = libm::exp(-hours / MEMORY_HOURS);
        self.recent_events *= kept;
        self.recent_hours *= kept;
        if exposed {
            self.hours += hours;
            self.recent_hours += MEMORY_HOURS * (1.0 - kept);
        }
    }

    fn add(&mut self, events: f64) {
        self.events += events;
        self.recent_events += events;
    }

    /// Losses come in bursts: the rate of late is estimated with that of all times as its prior.
    fn rate(&self, prior: f64) -> f64 {
        let always = (PRIOR_EVENTS + self.events) / (PRIOR_EVENTS / prior + self.hours);
        (BURST_EVENTS + self.recent_events) / (BURST_EVENTS / always + self.recent_hours)
    }
}

impl Availability {
    /// Begins to follow a request, unless it is followed already.
    pub fn follow(&mut self, state: &State, pools: PoolSet, devices: u32) {
        let singles = state.fleet.pool_indices().filter(|pool| pools.contains(*pool));
        for pools in singles.map(|pool| PoolSet::from_iter([pool])).chain([pools]) {
            self.0.entry((pools, devices)).or_insert_with(|| Seen {
                up: has_room(state, pools, devices),
                at: state.now(),
                devices: capacity(state, pools),
                fall: Counted::default(),
                rise: Counted::default(),
                hit: Counted::default(),
            });
        }
    }

    /// Takes in what happened since the last call.
    pub fn observe(&mut self, state: &State) {
        for ((pools, devices), seen) in &mut self.0 {
            let hours = state.now().since(seen.at).as_secs_f64() / 3_600.0;
            seen.fall.pass(hours, seen.up);
            seen.hit.pass(hours, seen.up);
            seen.rise.pass(hours, !seen.up);
            let (up, there) = (has_room(state, *pools, *devices), capacity(state, *pools));
            match (seen.up, up) {
                (true, false) => seen.fall.add(1.0),
                (false, true) => seen.rise.add(1.0),
                (true, true) => seen.hit.add(hit(seen.devices, there, *devices)),
                (false, false) => {}
            }
            (seen.up, seen.at, seen.devices) = (up, state.now(), there);
        }
    }

    pub fn rates(&self, pools: PoolSet, devices: u32) -> Rates {
        let seen = self.0.get(&(pools, devices));
        let rate =
            |counted: fn(&Seen) -> Counted, prior| seen.map_or_else(Counted::default, counted).rate(prior);
        Rates {
            fall: rate(|seen| seen.fall, PRIOR_FALL),
            rise: rate(|seen| seen.rise, PRIOR_RISE),
            hit: rate(|seen| seen.hit, PRIOR_HIT),
        }
    }

    /// The pool with room whose useful hour is cheapest: each loss costs one more changeover.
    pub fn best(&self, state: &State, view: &View) -> Option<PoolIndex> {
        let pools = state.fleet.pool_indices().filter(|pool| view.spot_with_room.contains(*pool));
        let over = view.over_spot.as_secs_f64() / 3_600.0;
        let dear = |pool: PoolIndex| {
            let rates = self.rates(PoolSet::from_iter([pool]), view.devices);
            state.fleet.costs.weight(pool) * (1.0 + (rates.fall + rates.hit) * over)
        };
        let best = pools.map(|pool| (dear(pool), pool));
        best.min_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1))).map(|(_, pool)| pool)
    }
}

fn has_room(state: &State, pools: PoolSet, devices: u32) -> bool {
    let mut pools = state.fleet.pool_indices().filter(|pool| pools.contains(*pool));
    pools.any(|pool| state.capacity().in_pool(pool) >= u64::from(devices))
}

fn capacity(state: &State, pools: PoolSet) -> u64 {
    state.capacity().in_pools(pools)
}

/// The chance that a gang of `gang` devices had one of those that went when `before` became `after`.
fn hit(before: u64, after: u64, gang: u32) -> f64 {
    if after >= before {
        return 0.0;
    }
    let spared =
        (0..u64::from(gang)).map(|k| after.saturating_sub(k) as f64 / before.saturating_sub(k).max(1) as f64);
    1.0 - spared.product::<f64>()
}

/// How many events the prior weighs: little, as zones differ a lot.
const PRIOR_EVENTS: f64 = 0.4;
/// Between the zones of public traces, which range from 0.1 to 1.4 falls an hour and 0.2 to 0.9 of the time up.
const PRIOR_FALL: f64 = 0.3;
const PRIOR_RISE: f64 = 0.45;
const PRIOR_HIT: f64 = 0.1;
/// How long an event counts as recent.
const MEMORY_HOURS: f64 = 1.0;
/// How many events the rate of all times weighs against recent ones.
const BURST_EVENTS: f64 = 2.0;
