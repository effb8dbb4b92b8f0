//! Segments of rounds that are not submitted here yet. Their permits bound them by peer.

use std::collections::BTreeMap;

use hcrun_protocol::Rank;
use hcrun_protocol::round::RoundId;

use super::link::Arrival;

#[derive(Default)]
pub(super) struct Early {
    segments: BTreeMap<RoundId, Vec<(Rank, Arrival)>>,
}

impl Early {
    pub(super) fn keep(&mut self, id: RoundId, from: Rank, arrival: Arrival) {
        self.segments.entry(id).or_default().push((from, arrival));
    }

    /// In the order they came.
    pub(super) fn take(&mut self, id: RoundId) -> Vec<(Rank, Arrival)> {
        self.segments.remove(&id).unwrap_or_default()
    }

    pub(super) fn forget_before(&mut self, attempt: u16) {
        self.segments.retain(|id, _| id.attempt >= attempt);
    }
}
