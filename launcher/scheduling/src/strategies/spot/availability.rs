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
    up_hours: f64,
    down_hours: f64,
    falls: f64,
    rises: f64,
    hits: f64,
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
                up_hours: 0.0,
                down_hours: 0.0,
                falls: 0.0,
                rises: 0.0,
                hits: 0.0,
            });
        }
    }

    /// Takes in what happened since the last call.
    pub fn observe(&mut self, state: &State) {
        for ((pools, devices), seen) in &mut self.0 {
            let hours = state.now().since(seen.at).as_secs_f64() / 3_600.0;
            *(if seen.up { &mut seen.up_hours } else { &mut seen.down_hours }) += hours;
            let (up, there) = (has_room(state, *pools, *devices), capacity(state, *pools));
            match (seen.up, up) {
                (true, false) => seen.falls += 1.0,
                (false, true) => seen.rises += 1.0,
                (true, true) if there < seen.devices => seen.hits += hit(seen.devices, there, *devices),
                _ => {}
            }
            (seen.up, seen.at, seen.devices) = (up, state.now(), there);
        }
    }

    pub fn rates(&self, pools: PoolSet, devices: u32) -> Rates {
        let none = Seen {
            up: false,
            at: Time::ZERO,
            devices: 0,
            up_hours: 0.0,
            down_hours: 0.0,
            falls: 0.0,
            rises: 0.0,
            hits: 0.0,
        };
        let seen = self.0.get(&(pools, devices)).unwrap_or(&none);
        let estimate =
            |count: f64, hours: f64, prior: f64| (PRIOR_EVENTS + count) / (PRIOR_EVENTS / prior + hours);
        Rates {
            fall: estimate(seen.falls, seen.up_hours, PRIOR_FALL),
            rise: estimate(seen.rises, seen.down_hours, PRIOR_RISE),
            hit: estimate(seen.hits, seen.up_hours, PRIOR_HIT),
        }
    }

    /// The pool with room whose useful hour is cheapest: each loss costs one more changeover.
    pub fn best(&self, state: &State, view: &View) -> PoolSet {
        let pools = state.fleet.pool_indices().filter(|pool| view.spot_with_room.contains(*pool));
        let over = view.over_spot.as_secs_f64() / 3_600.0;
        let dear = |pool: PoolIndex| {
            let rates = self.rates(PoolSet::from_iter([pool]), view.devices);
            state.fleet.costs.weight(pool) * (1.0 + (rates.fall + rates.hit) * over)
        };
        let best =
            pools.map(|pool| (dear(pool), pool)).min_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        best.map_or(PoolSet::NONE, |(_, pool)| PoolSet::from_iter([pool]))
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
    let spared =
        (0..u64::from(gang)).map(|k| after.saturating_sub(k) as f64 / before.saturating_sub(k).max(1) as f64);
    1.0 - spared.product::<f64>()
}

/// How many events the prior weighs.
const PRIOR_EVENTS: f64 = 1.0;
/// Between the zones of public traces, which range from 0.1 to 1.4 falls an hour and 0.2 to 0.9 of the time up.
const PRIOR_FALL: f64 = 0.3;
const PRIOR_RISE: f64 = 0.45;
const PRIOR_HIT: f64 = 0.1;
