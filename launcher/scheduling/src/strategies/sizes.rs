//! How many devices.

use crate::job::JobIndex;
use crate::state::{Job, State};
use crate::strategy::{Size, Want};

/// As many as the job asks for, wherever it may be.
#[derive(Debug, Clone, Copy)]
pub struct Requested;

impl Size for Requested {
    fn size(&self, _state: &State, _index: JobIndex, job: &Job) -> Result<Want, &'static str> {
        Ok(Want { devices: job.spec.devices.requested, pools: job.pools })
    }
}
