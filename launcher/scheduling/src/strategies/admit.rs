//! Who may wait.

use crate::state::{Job, State};
use crate::strategy::Admit;

/// Refuses what an empty fleet could not run, and says what it could.
#[derive(Debug, Clone, Copy)]
pub struct FitsFleet;

impl Admit for FitsFleet {
    fn admit(&self, state: &State, job: &Job) -> Result<(), String> {
        let fleet = &state.fleet;
        let pools = job.spec.allowed_pools(fleet).map_err(|error| error.to_string())?;
        if pools.is_empty() {
            let models = match job.spec.kinds.is_empty() {
                true => String::new(),
                false => format!(" with devices of model {}", job.spec.kinds.join(" or ")),
            };
            return Err(format!("no pool{models} is in a zone that may hold its data"));
        }
        for (pool, wanted) in &job.spec.parts {
            let pool =
                fleet.pools.get(pool.index()).ok_or("it asks for devices of a pool that is not there")?;
            let most = u64::from(pool.nodes) * u64::from(pool.devices_per_node);
            if u64::from(*wanted) > most {
                return Err(format!(
                    "it asks for {wanted} devices of pool `{}`, which has {most}",
                    pool.name
                ));
            }
        }
        let (wanted, most) = (u64::from(job.spec.devices.min), fleet.devices_in(pools));
        if wanted > most {
            return Err(format!(
                "it asks for {wanted} devices; the largest request that could ever run is {most}"
            ));
        }
        Ok(())
    }
}

/// Refuses a job that names devices of several pools, for strategies that keep a gang within one.
pub(super) fn in_one_pool(job: &Job) -> Result<(), String> {
    match job.spec.parts.len() {
        0 | 1 => Ok(()),
        pools => Err(format!(
            "it asks for devices of {pools} pools at once, and this strategy keeps a gang in one: name devices of one pool, or \
             take another strategy, such as `fifo-skip`, `srsf` or `priority`"
        )),
    }
}

/// Refuses what no single pool could run, for strategies that keep a gang within one.
#[derive(Debug, Clone, Copy)]
pub struct FitsPool;

impl Admit for FitsPool {
    fn admit(&self, state: &State, job: &Job) -> Result<(), String> {
        FitsFleet.admit(state, job)?;
        in_one_pool(job)?;
        let wanted = job.spec.devices.requested;
        let runs = |pool| super::shares::could_run(&state.fleet, job, pool);
        if state.fleet.pool_indices().any(runs) {
            return Ok(());
        }
        let allowed = state.fleet.pool_indices().filter(|pool| job.pools.contains(*pool));
        let most =
            allowed.map(|pool| state.fleet.devices_in([pool].into_iter().collect())).max().unwrap_or(0);
        Err(format!(
            "it asks for {wanted} devices of one pool on which it runs; the largest pool that it may use has {most}"
        ))
    }
}
