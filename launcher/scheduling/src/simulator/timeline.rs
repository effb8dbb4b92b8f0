//! What a simulation looked like over time, for drawings: bounded, however long it was.

use hcrun_protocol::time::Time;

use super::Observer;
use crate::fleet::PoolIndex;
use crate::job::JobIndex;
use crate::state::{Phase, State};

/// What was held and what waited from one moment on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Level {
    pub at: Time,
    /// Devices held.
    pub used: u64,
    /// Jobs waiting.
    pub waiting: usize,
}

/// One job on devices of one pool from one moment to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slice {
    pub job: JobIndex,
    pub pool: PoolIndex,
    pub devices: u32,
    pub from: Time,
    pub to: Time,
}

/// Levels and slices of a whole simulation.
#[derive(Debug, Clone, Default)]
pub struct Timeline {
    levels: Vec<Level>,
    /// Every so many events, one is kept.
    stride: usize,
    skipped: usize,
    slices: Vec<Slice>,
    open: Vec<Open>,
    /// Slices that found no place any more.
    left_out: u64,
}

/// A job that still runs.
#[derive(Debug, Clone)]
struct Open {
    job: JobIndex,
    /// Which of its starts it is.
    start: u32,
    pools: Vec<(PoolIndex, u32)>,
    from: Time,
}

/// Kept at most; every other one goes when there are more.
const MAX_LEVELS: usize = 4_096;
const MAX_SLICES: usize = 20_000;

impl Timeline {
    pub fn levels(&self) -> &[Level] {
        &self.levels
    }

    pub fn slices(&self) -> &[Slice] {
        &self.slices
    }

    pub fn slices_left_out(&self) -> u64 {
        self.left_out
    }

    fn add_level(&mut self, state: &State) {
        let is_change = self
            .levels
            .last()
            .is_none_or(|last| (last.used, last.waiting) != (state.used(), state.waiting_count()));
        self.skipped += 1;
        if !is_change || self.skipped < self.stride {
            return;
        }
        self.skipped = 0;
        self.levels.push(Level { at: state.now(), used: state.used(), waiting: state.waiting_count() });
        if self.levels.len() > MAX_LEVELS {
            let mut keep = false;
            self.levels.retain(|_| {
                keep = !keep;
                keep
            });
            self.stride = self.stride.max(1) * 2;
        }
    }

    fn close(&mut self, state: &State) {
        let to = state.now();
        let (slices, left_out) = (&mut self.slices, &mut self.left_out);
        self.open.retain(|Open { job, start, pools, from }| {
            let now = state.job(*job);
            if now.phase == Phase::Running && now.starts == *start {
                return true;
            }
            for (pool, devices) in pools {
                match slices.len() < MAX_SLICES {
                    true => slices.push(Slice { job: *job, pool: *pool, devices: *devices, from: *from, to }),
                    false => *left_out += 1,
                }
            }
            false
        });
    }

    fn open(&mut self, state: &State) {
        // Those that began at this very moment.
        let begun = state.running().filter(|index| state.job(*index).since == state.now());
        for index in begun {
            let job = state.job(index);
            if self.open.iter().any(|open| open.job == index && open.start == job.starts) {
                continue;
            }
            let mut pools: Vec<(PoolIndex, u32)> = Vec::new();
            for (node, devices) in job.allocation.parts() {
                let pool = state.fleet.node(*node).pool;
                match pools.iter_mut().find(|entry| entry.0 == pool) {
                    Some(entry) => entry.1 += devices,
                    None => pools.push((pool, *devices)),
                }
            }
            self.open.push(Open { job: index, start: job.starts, pools, from: state.now() });
        }
    }
}

impl Observer for Timeline {
    fn settled(&mut self, state: &State) {
        self.close(state);
        self.open(state);
        self.add_level(state);
    }
}
