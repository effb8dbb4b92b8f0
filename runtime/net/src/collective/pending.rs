//! A collective that runs.

use std::sync::{Arc, Mutex, PoisonError};

use super::error::{FailCause, Failed};
use super::{State, TAG_BITS};
use crate::group::RoundHandle;

/// Dropping it leaves the collective running and its result unseen.
#[must_use = "the result is in it; `wait` for it"]
pub struct Pending<B> {
    operation: &'static str,
    tag: Option<u32>,
    handle: Option<RoundHandle<B>>,
    preserved: Option<B>,
    claim: Claim,
}

/// Frees its tag when it is dropped.
struct Claim {
    tag: u32,
    state: Arc<Mutex<State>>,
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).in_flight.remove(&self.tag);
    }
}

impl<B> Pending<B> {
    pub(super) fn new(
        operation: &'static str,
        tag: Option<u32>,
        round_tag: u32,
        handle: RoundHandle<B>,
        preserved: Option<B>,
        state: Arc<Mutex<State>>,
    ) -> Pending<B> {
        let claim = Claim { tag: round_tag & ((1 << TAG_BITS) - 1), state };
        Pending { operation, tag, handle: Some(handle), preserved, claim }
    }

    /// Blocks until the collective has ended, at the latest at its deadline, and gives back the buffer with
    /// the result in it. The tag is free from then on.
    ///
    /// # Errors
    /// The first cause that this rank knows of. After one failure none of the group can succeed.
    pub fn wait(mut self) -> Result<B, Failed<B>> {
        let result = self.handle.take().expect("taken here alone").wait();
        let (operation, tag, preserved) = (self.operation, self.tag, self.preserved.take());
        drop(self.claim);
        result.map_err(|error| Failed { operation, tag, cause: FailCause::Round(error), preserved })
    }
}
