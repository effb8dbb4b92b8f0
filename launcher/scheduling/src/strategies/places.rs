//! Which nodes.

use crate::fleet::{NodeIndex, PoolIndex};
use crate::free::{Allocation, Free};
use crate::state::{Job, State};
use crate::strategy::{Place, Want};

/// On as few nodes as possible: the fullest node that has room for all, else the emptiest nodes of one pool, else of several.
#[derive(Debug, Clone, Copy)]
pub struct Pack;

impl Place for Pack {
    fn place(&mut self, state: &State, free: &Free, _job: &Job, want: &Want) -> Option<Allocation> {
        let pools = || state.fleet.pool_indices().filter(|pool| want.pools.contains(*pool));
        for pool in pools() {
            if free.in_pool(pool) < u64::from(want.devices) {
                continue;
            }
            return Some(match free.best_fit(pool, want.devices) {
                Some(node) => Allocation::new([(node, want.devices)]),
                None => emptiest(free, &[pool], want.devices),
            });
        }
        let several: Vec<PoolIndex> = pools().collect();
        let room: u64 = several.iter().map(|pool| free.in_pool(*pool)).sum();
        (room >= u64::from(want.devices)).then(|| emptiest(free, &several, want.devices))
    }
}

/// Takes whole nodes, emptiest first; the rest goes to the fullest node that has room for it.
fn emptiest(free: &Free, pools: &[PoolIndex], devices: u32) -> Allocation {
    let (mut left, mut parts) = (devices, Vec::<(NodeIndex, u32)>::new());
    for pool in pools {
        for (on_node, node) in free.nodes(*pool).rev() {
            if left == 0 {
                break;
            }
            let node = match free.best_fit(*pool, left) {
                Some(best) if on_node >= left && !parts.iter().any(|part| part.0 == best) => best,
                _ => node,
            };
            let taken = left.min(free.on(node));
            parts.push((node, taken));
            left -= taken;
        }
    }
    Allocation::new(parts)
}
