//! Who may wait for an elastic strategy.

use crate::state::{Job, State};
use crate::strategies::FitsFleet;
use crate::strategies::admit::in_one_pool;
use crate::strategy::Admit;

/// Refuses what no single pool of an empty fleet could run at its least: elastic gangs do not span pools.
#[derive(Debug, Clone, Copy)]
pub struct LeastFitsPool;

impl Admit for LeastFitsPool {
    fn admit(&self, state: &State, job: &Job) -> Result<(), String> {
        FitsFleet.admit(state, job)?;
        in_one_pool(job)?;
        let pools = state.fleet.pool_indices().filter(|pool| job.pools.contains(*pool));
        let most = pools.map(|pool| state.fleet.devices_in([pool].into_iter().collect())).max().unwrap_or(0);
        let wanted = job.spec.devices.min;
        if u64::from(wanted) > most {
            return Err(format!(
                "it asks for {wanted} devices of one pool; the largest pool that it may use has {most}"
            ));
        }
        Ok(())
    }
}
