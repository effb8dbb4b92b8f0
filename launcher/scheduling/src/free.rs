//! Which devices are free, by node and by pool.

use std::collections::BTreeSet;

use smallvec::SmallVec;

use crate::fleet::{Fleet, NodeIndex, PoolIndex, PoolSet};

/// Devices of nodes, sorted by node, each node once and with at least one device.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Allocation(SmallVec<[(NodeIndex, u32); 2]>);

impl Allocation {
    /// From nodes in any order; parts of one node are added up.
    pub fn new(parts: impl IntoIterator<Item = (NodeIndex, u32)>) -> Allocation {
        let mut parts: SmallVec<[(NodeIndex, u32); 2]> = parts.into_iter().collect();
        parts.sort_unstable();
        parts.dedup_by(|next, kept| {
            let same = next.0 == kept.0;
            if same {
                kept.1 += next.1;
            }
            same
        });
        parts.retain(|part| part.1 > 0);
        Allocation(parts)
    }

    pub fn parts(&self) -> &[(NodeIndex, u32)] {
        &self.0
    }

    pub fn devices(&self) -> u32 {
        self.0.iter().map(|part| part.1).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// What is free of a fleet. Nodes that are gone have nothing free.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Free {
    by_node: Vec<u32>,
    pools: Vec<PoolFree>,
    total: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct PoolFree {
    free: u64,
    /// Nodes by what is free on them; those with nothing free are left out. Not kept for a pool of a single node,
    /// which is what large traces run on.
    nodes: BTreeSet<(u32, NodeIndex)>,
    only: Option<(u32, NodeIndex)>,
}

impl Free {
    /// All of `fleet`.
    pub fn all(fleet: &Fleet) -> Free {
        let pools = fleet.pool_indices().map(|pool| PoolFree {
            free: u64::from(fleet.pool(pool).nodes) * u64::from(fleet.pool(pool).devices_per_node),
            nodes: match fleet.pool(pool).nodes {
                1 => BTreeSet::new(),
                _ => fleet.nodes_of(pool).map(|node| (fleet.node(node).devices, node)).collect(),
            },
            only: (fleet.pool(pool).nodes == 1).then(|| only(fleet, pool)),
        });
        let by_node = fleet.nodes.iter().map(|node| node.devices).collect();
        Free { by_node, pools: pools.collect(), total: fleet.devices() }
    }

    pub fn on(&self, node: NodeIndex) -> u32 {
        self.by_node[node.index()]
    }

    pub fn total(&self) -> u64 {
        self.total
    }

    pub fn in_pool(&self, pool: PoolIndex) -> u64 {
        self.pools[pool.index()].free
    }

    pub fn in_pools(&self, pools: PoolSet) -> u64 {
        let chosen = self.pools.iter().enumerate().filter(|(index, _)| pools.0 >> index & 1 == 1);
        chosen.map(|(_, pool)| pool.free).sum()
    }

    /// Nodes of a pool with something free, fewest free devices first, then by index.
    pub fn nodes(&self, pool: PoolIndex) -> impl DoubleEndedIterator<Item = (u32, NodeIndex)> + '_ {
        let pool = &self.pools[pool.index()];
        pool.nodes.iter().copied().chain(pool.only.filter(|(free, _)| *free > 0))
    }

    /// The node of a pool with the fewest free devices that still has `devices`.
    pub fn best_fit(&self, pool: PoolIndex, devices: u32) -> Option<NodeIndex> {
        let pool = &self.pools[pool.index()];
        let first = pool.nodes.range((devices, NodeIndex(0))..).next().copied();
        first.or(pool.only.filter(|(free, _)| *free >= devices)).map(|(_, node)| node)
    }

    pub fn has(&self, allocation: &Allocation) -> bool {
        allocation.parts().iter().all(|(node, devices)| self.on(*node) >= *devices)
    }

    /// Takes an allocation. Panics if it is not free: whoever decided it has read this state.
    pub fn take(&mut self, fleet: &Fleet, allocation: &Allocation) {
        for (node, devices) in allocation.parts() {
            let left = self.on(*node).checked_sub(*devices);
            self.set(fleet, *node, left.expect("devices are taken that are not free"));
        }
    }

    /// Leaves no more free than `other` has, on the nodes of an allocation.
    pub(crate) fn keep_at_most(&mut self, fleet: &Fleet, other: &Free, allocation: &Allocation) {
        for (node, _) in allocation.parts() {
            self.set(fleet, *node, self.on(*node).min(other.on(*node)));
        }
    }

    pub fn give_back(&mut self, fleet: &Fleet, allocation: &Allocation) {
        for (node, devices) in allocation.parts() {
            self.set(fleet, *node, self.on(*node) + devices);
        }
    }

    pub fn set(&mut self, fleet: &Fleet, node: NodeIndex, devices: u32) {
        let was = std::mem::replace(&mut self.by_node[node.index()], devices);
        let pool = &mut self.pools[fleet.node(node).pool.index()];
        if let Some(only) = &mut pool.only {
            only.0 = devices;
        } else {
            if was > 0 {
                pool.nodes.remove(&(was, node));
            }
            if devices > 0 {
                pool.nodes.insert((devices, node));
            }
        }
        pool.free = pool.free - u64::from(was) + u64::from(devices);
        self.total = self.total - u64::from(was) + u64::from(devices);
    }
}

fn only(fleet: &Fleet, pool: PoolIndex) -> (u32, NodeIndex) {
    let node = fleet.nodes_of(pool).next().expect("a pool has nodes");
    (fleet.node(node).devices, node)
}
