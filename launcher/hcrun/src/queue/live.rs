//! From a row of the database to a job of scheduling's state.

use hcrun_protocol::time::Span;
use hcrun_scheduling::fleet::{Fleet, PoolIndex};
use hcrun_scheduling::{JobSpec, Work};

use super::store::JobRow;

/// What starting and stopping cost so far in this queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Costs {
    pub(super) startup: Span,
    pub(super) stop: Span,
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
    (job.start_overhead, job.stop_overhead) = (costs.startup, costs.stop);
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
