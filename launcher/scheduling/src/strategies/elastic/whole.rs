//! Whole nodes for large gangs, one node for small ones.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::claim::is_pinned;
use crate::fleet::{NodeIndex, PoolIndex};
use crate::free::{Allocation, Free};
use crate::job::JobIndex;
use crate::state::{Job, State};
use crate::strategies::Pack;
use crate::strategy::{Place, Want};

/// Packs, and moves smaller jobs together where a gang would lie on more nodes than it must.
#[derive(Debug, Clone, Copy)]
pub struct WholeNodes;

impl Place for WholeNodes {
    fn place(&mut self, state: &State, free: &Free, job: &Job, want: &Want) -> Option<Allocation> {
        Pack.place(state, free, job, want)
    }

    fn make_room(&self, state: &State, free: &Free, keep: &[JobIndex], want: &Want) -> Vec<JobIndex> {
        let mut pools = state.fleet.pool_indices().filter(|pool| want.pools.contains(*pool));
        let (Some(pool), None) = (pools.next(), pools.next()) else { return Vec::new() };
        if free.in_pool(pool) < u64::from(want.devices) {
            return Vec::new();
        }
        let on_node = state.fleet.pool(pool).devices_per_node;
        let (whole, rest) = (want.devices / on_node, want.devices % on_node);
        if whole == 0 {
            if free.best_fit(pool, rest).is_some() {
                return Vec::new();
            }
            return cheapest(state, free, keep, pool, rest, want.devices, 1);
        }
        let empty = free.nodes(pool).rev().take_while(|(devices, _)| *devices == on_node).count();
        let missing = (whole as usize).saturating_sub(empty);
        cheapest(state, free, keep, pool, on_node, want.devices, missing)
    }
}

/// The jobs of the `nodes` nodes that have `needed` devices with the fewest moved, all of jobs smaller than `limit`
/// that lie on that node alone.
fn cheapest(
    state: &State,
    free: &Free,
    keep: &[JobIndex],
    pool: PoolIndex,
    needed: u32,
    limit: u32,
    nodes: usize,
) -> Vec<JobIndex> {
    if nodes == 0 {
        return Vec::new();
    }
    let mut movable = BTreeMap::<NodeIndex, Vec<(u32, JobIndex)>>::new();
    for index in keep {
        let job = state.job(*index);
        if let [(node, devices)] = job.allocation.parts()
            && *devices < limit
            && !is_pinned(job)
        {
            movable.entry(*node).or_default().push((*devices, *index));
        }
    }
    let mut plans = Vec::new();
    for (node, mut jobs) in movable {
        if state.fleet.node(node).pool != pool || free.on(node) >= needed {
            continue;
        }
        jobs.sort_unstable_by_key(|(devices, index)| (*devices, Reverse(*index)));
        let missing = needed - free.on(node);
        // One job that is just large enough, or the smallest ones together.
        let single = jobs.iter().find(|(devices, _)| *devices >= missing).copied();
        let (mut sum, mut several) = (0, Vec::new());
        for job in jobs {
            if sum >= missing {
                break;
            }
            sum += job.0;
            several.push(job);
        }
        let chosen = match single {
            Some(single) if sum < missing || single.0 <= sum => vec![single],
            _ if sum >= missing => several,
            _ => continue,
        };
        let moved: u32 = chosen.iter().map(|(devices, _)| devices).sum();
        plans.push((moved, node, chosen));
    }
    plans.sort_unstable();
    if plans.len() < nodes {
        return Vec::new();
    }
    plans.into_iter().take(nodes).flat_map(|(_, _, jobs)| jobs).map(|(_, index)| index).collect()
}
