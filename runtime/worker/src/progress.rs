//! What the compute thread shows of itself to the thread that sends heartbeats.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use hcrun_protocol::control::Activity;

/// Counts up with everything that gets done; clones share one counter.
#[derive(Debug, Clone, Default)]
pub struct Progress(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    done: AtomicU64,
    activity: AtomicU8,
}

impl Progress {
    /// Something was done: a tape node, a bucket, a file.
    pub fn tick(&self) {
        self.0.done.fetch_add(1, Ordering::Relaxed);
    }

    pub fn enter(&self, activity: Activity) {
        let code = match activity {
            Activity::Preparing => 0,
            Activity::Computing => 1,
            Activity::Waiting => 2,
        };
        self.0.activity.store(code, Ordering::Relaxed);
        self.tick();
    }

    pub(crate) fn sample(&self) -> (u64, Activity) {
        let activity = match self.0.activity.load(Ordering::Relaxed) {
            0 => Activity::Preparing,
            1 => Activity::Computing,
            _ => Activity::Waiting,
        };
        (self.0.done.load(Ordering::Relaxed), activity)
    }
}
