//! Where jobs are predicted to finish soonest, so that zones and nodes finish alike.
//!
//! A place's backlog is the device time that jobs hold it for yet, by their estimates and their speed there. The
//! predicted finish with one more job is the backlog and that job's device time there, over the devices of the place: a
//! slow place takes longer for the same work, so it gets less of it.

use hcrun_protocol::time::Span;

use super::places::Pack;
use crate::fleet::{NodeIndex, PoolIndex, PoolSet};
use crate::free::{Allocation, Free};
use crate::job::Shape;
use crate::state::{Job, State};
use crate::strategy::{Place, Want};
use crate::work::Rate;

/// A gang goes to the zone, in it to the pool, that finishes soonest; it is split over pools only if none has room.
#[derive(Debug, Clone, Copy)]
pub struct Balanced {
    /// Within a pool: on the fullest nodes, so that others stay whole; otherwise on the nodes that finish soonest.
    pub pack: bool,
}

impl Place for Balanced {
    fn place(&mut self, state: &State, free: &Free, job: &Job, want: &Want) -> Option<Allocation> {
        let room =
            |pool: &PoolIndex| want.pools.contains(*pool) && free.in_pool(*pool) >= u64::from(want.devices);
        let pools: Vec<PoolIndex> = state.fleet.pool_indices().filter(room).collect();
        let best = match pools[..] {
            [] => return Pack.place(state, free, job, want),
            [only] => only,
            _ => {
                let backlog = Backlog::of(state);
                let finish = |pool: &PoolIndex| {
                    (
                        backlog.of_zone(state, free, job, want, *pool),
                        backlog.of_pool(state, free, job, want, *pool),
                    )
                };
                pools.into_iter().min_by_key(finish)?
            }
        };
        if self.pack {
            let pools = PoolSet::from_iter([best]);
            return Pack.place(state, free, job, &Want { pools, ..*want });
        }
        Some(spread(state, free, job, want.devices, best))
    }
}

/// Device microseconds that running jobs hold each node for yet, and the devices that they hold there.
struct Backlog {
    nodes: Vec<(u128, u32)>,
}

impl Backlog {
    fn of(state: &State) -> Backlog {
        let mut nodes = vec![(0, 0); state.fleet.nodes.len()];
        for index in state.running() {
            let job = state.job(index);
            let left = job.estimated_left(state.now()).time_at(job.rate()).0.min(FOREVER.0);
            for (node, devices) in job.allocation.parts() {
                let (backlog, held) = &mut nodes[node.index()];
                *backlog += u128::from(left) * u128::from(*devices);
                *held += devices;
            }
        }
        Backlog { nodes }
    }

    /// Backlog and devices of nodes. Devices that are neither free nor held went to jobs of this same decision: each is
    /// taken to be held for `time`, as long as the job that is placed now.
    fn sum(
        &self,
        state: &State,
        free: &Free,
        nodes: impl Iterator<Item = NodeIndex>,
        time: Span,
    ) -> (u128, u128) {
        let mut sum = (0, 0);
        for node in nodes {
            let (backlog, held) = self.nodes[node.index()];
            let up = state.capacity().on(node);
            let promised = up.saturating_sub(held).saturating_sub(free.on(node));
            sum.0 += backlog + u128::from(promised) * u128::from(time.0);
            sum.1 += u128::from(up);
        }
        sum
    }

    fn of_pool(&self, state: &State, free: &Free, job: &Job, want: &Want, pool: PoolIndex) -> u128 {
        let time = time_on(state, job, want.devices, pool);
        finish(self.sum(state, free, state.fleet.nodes_of(pool), time), time, want.devices)
    }

    /// As if the job went to this pool of the zone.
    fn of_zone(&self, state: &State, free: &Free, job: &Job, want: &Want, pool: PoolIndex) -> u128 {
        let time = time_on(state, job, want.devices, pool);
        let zone = state.fleet.pool(pool).zone;
        let pools = state.fleet.pool_indices().filter(|other| state.fleet.pool(*other).zone == zone);
        let nodes = pools.flat_map(|other| state.fleet.nodes_of(other));
        finish(self.sum(state, free, nodes, time), time, want.devices)
    }
}

fn finish((backlog, devices): (u128, u128), time: Span, wanted: u32) -> u128 {
    (backlog + u128::from(time.0) * u128::from(wanted)) / devices.max(1)
}

/// How long the job takes in a pool, on as few nodes as there can be.
fn time_on(state: &State, job: &Job, devices: u32, pool: PoolIndex) -> Span {
    let pool = state.fleet.pool(pool);
    let (whole, rest) = (devices / pool.devices_per_node, devices % pool.devices_per_node);
    let mut per_node: Vec<u32> = (0..whole).map(|_| pool.devices_per_node).collect();
    per_node.extend((rest > 0).then_some(rest));
    let shape = Shape { kind: pool.kind, per_node };
    let rate =
        job.spec.speed.as_ref().map_or(Rate::ONE, |speed| speed.stretch(job.done(state.now()), &shape).rate);
    job.estimated_left(state.now()).time_at(rate).min(FOREVER)
}

/// On the node that finishes soonest of those with room for all; else on several, soonest first.
fn spread(state: &State, free: &Free, job: &Job, devices: u32, pool: PoolIndex) -> Allocation {
    let backlog = Backlog::of(state);
    let time = time_on(state, job, devices, pool);
    let finish = |node: NodeIndex| {
        finish(backlog.sum(state, free, [node].into_iter(), time), time, devices.min(free.on(node)))
    };
    let open = || free.nodes(pool).map(|(on_node, node)| (on_node, node, finish(node)));
    let whole = open().filter(|(on_node, ..)| *on_node >= devices);
    if let Some((_, node, _)) = whole.min_by_key(|(_, node, finish)| (*finish, *node)) {
        return Allocation::new([(node, devices)]);
    }
    let mut nodes: Vec<_> = open().map(|(on_node, node, finish)| (finish, node, on_node)).collect();
    nodes.sort_unstable();
    let mut left = devices;
    Allocation::new(nodes.into_iter().map_while(|(_, node, on_node)| {
        let taken = left.min(on_node);
        left -= taken;
        (taken > 0).then_some((node, taken))
    }))
}

/// Stands for what never ends, small enough to be added up.
const FOREVER: Span = Span(1 << 60);
