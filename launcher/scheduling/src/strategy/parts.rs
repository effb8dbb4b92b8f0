//! Jobs that name how many devices they want of each pool: every strategy places exactly these.

use super::{Place, Want};
use crate::fleet::{PoolIndex, PoolSet};
use crate::free::{Allocation, Free};
use crate::state::{Job, State};

/// What `place` finds for the job; for one in parts, what it finds in each pool, or nothing at all.
pub(super) fn place(
    place: &mut dyn Place,
    state: &State,
    free: &Free,
    job: &Job,
    want: &Want,
) -> Option<Allocation> {
    if job.spec.parts.is_empty() {
        return place.place(state, free, job, want);
    }
    let mut all = Vec::new();
    for (pool, devices) in &job.spec.parts {
        let pools = want.pools.and(PoolSet::from_iter([*pool]));
        if pools.is_empty() {
            return None;
        }
        let part = place.place(state, free, job, &Want { devices: *devices, pools })?;
        all.extend_from_slice(part.parts());
    }
    Some(Allocation::new(all))
}

/// Numbers for lists of parts, so that equal ones stand in one line of the queue; 0 is none.
#[derive(Debug, Clone, Default)]
pub(super) struct Numbers(Vec<Vec<(PoolIndex, u32)>>);

impl Numbers {
    pub(super) fn of(&mut self, parts: &[(PoolIndex, u32)]) -> u32 {
        if parts.is_empty() {
            return 0;
        }
        let known = self.0.iter().position(|known| known == parts);
        let position = known.unwrap_or_else(|| {
            self.0.push(parts.to_vec());
            self.0.len() - 1
        });
        u32::try_from(position + 1).unwrap_or(u32::MAX)
    }
}
