//! Who is looked at first.

use hcrun_protocol::time::{Span, Time};

use crate::state::{Job, State};
use crate::strategy::{Key, Order};

/// First come, first served.
#[derive(Debug, Clone, Copy)]
pub struct Submission;

impl Order for Submission {
    fn key(&self, _state: &State, job: &Job) -> Key {
        Key(u128::from(job.spec.submit.0))
    }
}

/// Least work left first, by the estimate.
#[derive(Debug, Clone, Copy)]
pub struct Remaining {
    /// Counts devices x time instead of time.
    pub times_devices: bool,
}

impl Order for Remaining {
    fn key(&self, state: &State, job: &Job) -> Key {
        let left = job.estimated_left(state.now()).0;
        Key(if self.times_devices { left * u128::from(job.spec.devices.requested) } else { left })
    }
}

/// Two queues by service attained (Tiresias): those below the threshold first; by submission within a queue.
#[derive(Debug, Clone, Copy)]
pub struct Attained {
    threshold: u128,
}

impl Attained {
    /// `threshold`: device time after which a job is demoted.
    pub fn new(threshold: Span) -> Attained {
        Attained { threshold: u128::from(threshold.0) }
    }
}

impl Order for Attained {
    fn key(&self, state: &State, job: &Job) -> Key {
        let demoted = u128::from(job.attained(state.now()) >= self.threshold);
        Key(demoted << 64 | u128::from(job.spec.submit.0))
    }

    fn next_change(&self, state: &State) -> Option<Time> {
        let now = state.now();
        let demotions = state.running().filter_map(|index| {
            let job = state.job(index);
            let left = self.threshold.checked_sub(job.attained(now)).filter(|left| *left > 0)?;
            let wait = left.div_ceil(u128::from(job.allocation.devices()));
            Some(now + Span(u64::try_from(wait).unwrap_or(u64::MAX)))
        });
        demotions.min()
    }
}
