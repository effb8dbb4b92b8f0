//! From a row of the database to a job of scheduling's state.

use hcrun_scheduling::fleet::{Fleet, PoolIndex};
use hcrun_scheduling::{JobSpec, Work};

use super::course::{Measured, Sum};
use super::store::JobRow;

/// What starting and stopping cost so far in this queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Costs {
    pub(super) startup: Sum,
    pub(super) stop: Sum,
}

impl Costs {
    /// Learns from one more process.
    pub(super) fn learn(&mut self, run: &Measured) {
        (self.startup, self.stop) = (self.startup.and(run.startup), self.stop.and(run.stop));
    }
}

/// # Errors
/// Why this cluster can never run it.
pub(super) fn spec(row: &JobRow, fleet: &Fleet, costs: Costs) -> Result<JobSpec, String> {
    let parts = parts(&row.pools, fleet)?;
    let mut job = JobSpec::in_parts(format!("{} {}", row.id, row.name), row.submitted, parts, row.estimate);
    // Nobody knows when it will be done.
    job.work = Work(u128::MAX);
    job.estimate = Work::taking(row.estimate);
    job.class = row.class;
    let mean = |sum: Sum| sum.mean().unwrap_or_default();
    (job.start_overhead, job.stop_overhead) = (mean(costs.startup), mean(costs.stop));
    Ok(job)
}

fn parts(pools: &str, fleet: &Fleet) -> Result<Vec<(PoolIndex, u32)>, String> {
    let part = |part: &str| {
        let (name, count) = part.split_once('=').ok_or_else(|| format!("`{part}` is not POOL=WORKERS"))?;
        let index = fleet.pool_indices().find(|index| fleet.pool(*index).name == name);
        let index = index.ok_or_else(|| {
            format!("it asks for workers of pool `{name}`, which the cluster does not have")
        })?;
        Ok((index, count.parse().map_err(|_| format!("`{part}` is not POOL=WORKERS"))?))
    };
    pools.split(';').map(part).collect()
}
