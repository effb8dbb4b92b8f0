//! Gangs on as few nodes as there can be, or not at all.

use crate::fleet::{NodeIndex, PoolIndex};
use crate::free::{Allocation, Free};
use crate::state::{Job, State};
use crate::strategy::{Place, Want};

/// A gang of at most a node's devices runs on one node, the fullest that has room; a larger one on whole nodes and
/// one more for the rest. Where there is no such place it waits, although enough devices may be free (Tiresias, Muri).
#[derive(Debug, Clone, Copy)]
pub struct Consolidate;

impl Place for Consolidate {
    fn place(&mut self, state: &State, free: &Free, _job: &Job, want: &Want) -> Option<Allocation> {
        let pools = state.fleet.pool_indices().filter(|pool| want.pools.contains(*pool));
        pools.filter_map(|pool| in_pool(state, free, pool, want.devices)).next()
    }
}

fn in_pool(state: &State, free: &Free, pool: PoolIndex, devices: u32) -> Option<Allocation> {
    if free.in_pool(pool) < u64::from(devices) {
        return None;
    }
    let each = state.fleet.pool(pool).devices_per_node;
    let (whole, rest) = (devices / each, devices % each);
    if whole == 0 {
        return free.best_fit(pool, rest).map(|node| Allocation::new([(node, rest)]));
    }
    // Idle nodes have the most that is free.
    let idle = free.nodes(pool).rev().take_while(|(on_node, _)| *on_node == each);
    let chosen: Vec<NodeIndex> = idle.take(usize::try_from(whole).ok()?).map(|(_, node)| node).collect();
    if u32::try_from(chosen.len()) != Ok(whole) {
        return None;
    }
    let mut parts: Vec<(NodeIndex, u32)> = chosen.iter().map(|node| (*node, each)).collect();
    if rest > 0 {
        let (_, last) =
            free.nodes(pool).find(|(on_node, node)| *on_node >= rest && !chosen.contains(node))?;
        parts.push((last, rest));
    }
    Some(Allocation::new(parts))
}
