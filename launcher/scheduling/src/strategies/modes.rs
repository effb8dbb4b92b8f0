//! On which terms devices are held.

use crate::fleet::PoolSet;
use crate::job::JobIndex;
use crate::state::{Job, State};
use crate::strategy::Mode;

/// Whatever the job may use.
#[derive(Debug, Clone, Copy)]
pub struct AnyTerms;

impl Mode for AnyTerms {
    fn pools(&self, _state: &State, _index: JobIndex, job: &Job) -> PoolSet {
        job.pools
    }
}
