//! What is left of each pool while one decision is made.

use hcrun_protocol::time::{Span, Time};

use super::book::Book;
use crate::fleet::{PoolIndex, PoolSet};
use crate::state::{Job, State};
use crate::strategy::Want;

#[derive(Debug)]
pub(super) struct Room {
    now: Time,
    free: Vec<u64>,
    /// Given to jobs that have not reserved it.
    lent: Vec<u64>,
}

impl Room {
    pub(super) fn all(state: &State) -> Room {
        let free: Vec<u64> = state.fleet.pool_indices().map(|pool| state.capacity().in_pool(pool)).collect();
        Room { now: state.now(), lent: vec![0; free.len()], free }
    }

    pub(super) fn in_pool(&self, pool: PoolIndex) -> u64 {
        self.free[pool.index()]
    }

    /// In the pool with the most.
    pub(super) fn most(&self) -> u64 {
        self.free.iter().copied().max().unwrap_or(0)
    }

    pub(super) fn total(&self) -> u64 {
        self.free.iter().sum()
    }

    /// Devices that their job has reserved for now.
    #[must_use]
    pub(super) fn give(&mut self, pool: PoolIndex, devices: u32) -> bool {
        let left = self.free[pool.index()].checked_sub(devices.into());
        left.map(|left| self.free[pool.index()] = left).is_some()
    }

    /// Devices that others may have reserved for later.
    #[must_use]
    pub(super) fn lend(&mut self, pool: PoolIndex, devices: u32) -> bool {
        let given = self.give(pool, devices);
        self.lent[pool.index()] += if given { u64::from(devices) } else { 0 };
        given
    }

    /// How long `devices` more of a pool can be lent before they are needed.
    pub(super) fn lasts(&self, book: &Book, pool: PoolIndex, devices: u32) -> Span {
        let there = book.calendar(pool).there_until(self.lent[pool.index()] + u64::from(devices));
        there.map_or(Span(u64::MAX), |until| until.since(self.now))
    }

    /// Lends what a running job holds, or nothing.
    pub(super) fn keep(&mut self, state: &State, job: &Job) -> Option<Want> {
        let mut devices = vec![0u32; self.free.len()];
        job.allocation
            .parts()
            .iter()
            .for_each(|(node, count)| devices[state.fleet.node(*node).pool.index()] += count);
        self.lend_each(&devices)
    }

    /// Lends a gang of several pools what it names of each, or what there is in the order of pools.
    pub(super) fn spread(&mut self, state: &State, job: &Job) -> Option<Want> {
        let mut devices = vec![0u32; self.free.len()];
        if job.spec.parts.is_empty() {
            let mut left = job.spec.devices.requested;
            for pool in state.fleet.pool_indices().filter(|pool| job.pools.contains(*pool)) {
                let here = left.min(u32::try_from(self.in_pool(pool)).unwrap_or(u32::MAX));
                devices[pool.index()] = here;
                left -= here;
            }
            if left > 0 {
                return None;
            }
        } else {
            job.spec.parts.iter().for_each(|(pool, count)| devices[pool.index()] += count);
        }
        self.lend_each(&devices)
    }

    fn lend_each(&mut self, devices: &[u32]) -> Option<Want> {
        let wanted = || (0u8..).map(PoolIndex).zip(devices).filter(|(_, devices)| **devices > 0);
        if !wanted().all(|(pool, devices)| self.in_pool(pool) >= u64::from(*devices)) {
            return None;
        }
        let lent = wanted().all(|(pool, devices)| self.lend(pool, *devices));
        let pools: PoolSet = wanted().map(|(pool, _)| pool).collect();
        lent.then(|| Want { devices: devices.iter().sum(), pools })
    }
}
