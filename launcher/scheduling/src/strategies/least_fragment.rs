//! Fragmentation gradient descent for gangs of whole devices: on the node where least is lost for the gangs seen so far.

use super::places::Pack;
use crate::fleet::{NodeIndex, PoolIndex};
use crate::free::{Allocation, Free};
use crate::state::{Job, Phase, State};
use crate::strategy::{Place, Want};

/// Free devices of a node are lost to a gang that needs more of one node. As [`crate::packing::Fgd`], with the sizes of
/// the jobs submitted so far as the demand. A gang larger than a node takes idle nodes and places what is left over.
#[derive(Debug, Clone, Default)]
pub struct LeastFragment {
    /// Jobs seen, by the devices they ask for.
    by_devices: Vec<u64>,
    seen: usize,
}

impl Place for LeastFragment {
    fn place(&mut self, state: &State, free: &Free, job: &Job, want: &Want) -> Option<Allocation> {
        self.see(state);
        let pools = state.fleet.pool_indices().filter(|pool| want.pools.contains(*pool));
        let placed = pools.filter_map(|pool| self.in_pool(state, free, want.devices, pool));
        let best = placed.min_by_key(|(growth, _)| *growth).map(|(_, allocation)| allocation);
        best.or_else(|| Pack.place(state, free, job, want))
    }
}

impl LeastFragment {
    /// Jobs come in the order of their indices.
    fn see(&mut self, state: &State) {
        while let Some(job) = state.jobs().get(self.seen).filter(|job| job.phase != Phase::Future) {
            let devices = job.spec.devices.requested as usize;
            if self.by_devices.len() <= devices {
                self.by_devices.resize(devices + 1, 0);
            }
            self.by_devices[devices] += 1;
            self.seen += 1;
        }
    }

    /// What of `free` devices on a node of `each` is lost, times the number of jobs seen.
    fn fragment(&self, free: u32, each: u32) -> i64 {
        let larger = |(devices, _): &(u32, &u64)| (*devices).min(each) > free;
        let lost: u64 = (0..).zip(&self.by_devices).filter(larger).map(|(_, count)| *count).sum();
        i64::from(free) * i64::try_from(lost).unwrap_or(i64::MAX >> 32)
    }

    fn in_pool(
        &self,
        state: &State,
        free: &Free,
        devices: u32,
        pool: PoolIndex,
    ) -> Option<(i64, Allocation)> {
        let each = state.fleet.pool(pool).devices_per_node;
        let (whole, rest) = (devices / each, devices % each);
        let idle = free.nodes(pool).rev().take_while(|(on_node, _)| *on_node == each);
        let chosen: Vec<NodeIndex> = idle.take(whole as usize).map(|(_, node)| node).collect();
        if chosen.len() < whole as usize {
            return None;
        }
        let mut parts: Vec<(NodeIndex, u32)> = chosen.iter().map(|node| (*node, each)).collect();
        let mut growth = 0;
        if rest > 0 {
            let open = free.nodes(pool).filter(|(on_node, node)| *on_node >= rest && !chosen.contains(node));
            let growths = open.map(|(on_node, node)| {
                (self.fragment(on_node - rest, each) - self.fragment(on_node, each), node)
            });
            let (least, node) = growths.min()?;
            growth = least;
            parts.push((node, rest));
        }
        Some((growth, Allocation::new(parts)))
    }
}
