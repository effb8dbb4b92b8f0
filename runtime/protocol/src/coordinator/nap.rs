//! When the coordinator itself did not run: stopped, or starved of CPU.
//!
//! Who slept has heard nothing and may not blame others for it: everybody gets a fresh chance. If workers
//! turn out to have left, then because they gave the coordinator up, and that is the first cause.

use crate::time::{Span, Time};

/// It is woken at every heartbeat; twice that late is more than a busy machine.
const NAP: Span = Span::from_millis(1_000);

#[derive(Debug)]
pub(super) struct Naps {
    awake: Time,
    last: Option<Nap>,
}

#[derive(Debug, Clone, Copy)]
struct Nap {
    length: Span,
    end: Time,
}

impl Naps {
    pub(super) fn new(now: Time) -> Naps {
        Naps { awake: now, last: None }
    }

    /// To be told of every input. The length of the nap that this one ended, if it did.
    pub(super) fn wake(&mut self, now: Time) -> Option<Span> {
        let length = now.since(self.awake);
        self.awake = now;
        if length < NAP {
            return None;
        }
        self.last = Some(Nap { length, end: now });
        Some(length)
    }

    /// The nap that explains why a worker is found gone now: it was long enough for the worker to lose
    /// patience, and the worker has not been heard since.
    pub(super) fn explains_loss(&self, now: Time, patience: Span) -> Option<Span> {
        let nap = self.last?;
        let long = nap.length.saturating_mul(2) >= patience;
        (long && now.since(nap.end) <= patience).then_some(nap.length)
    }
}
