//! Segments of rounds that are not submitted here yet. Their permits bound them by peer, and those that were
//! let go have a bound of their own.

use std::collections::BTreeMap;

use hcrun_protocol::Rank;
use hcrun_protocol::round::RoundId;
use tokio::sync::OwnedSemaphorePermit;

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

    /// How much room segments of the lane hold.
    pub(super) fn held(&self, peer: Rank, lane: usize) -> usize {
        let arrivals = self.segments.values().flatten();
        let held = arrivals.filter(|(from, arrival)| *from == peer && arrival.lane == lane);
        held.filter_map(|(_, arrival)| arrival.permit.as_ref()).map(OwnedSemaphorePermit::num_permits).sum()
    }

    /// Lets a segment of the lane go, unless more than `limit` bytes would lie here without room.
    pub(super) fn let_go(&mut self, peer: Rank, lane: usize, limit: usize) -> bool {
        let arrivals = self.segments.values().flatten().map(|(_, arrival)| arrival);
        let loose = arrivals.filter(|arrival| arrival.permit.is_none());
        let loose: usize = loose.map(|arrival| arrival.payload.len()).sum();
        let mut arrivals = self.segments.values_mut().rev().flatten();
        let held = arrivals
            .find(|(from, arrival)| *from == peer && arrival.lane == lane && arrival.permit.is_some());
        let fits = held.filter(|(_, arrival)| loose + arrival.payload.len() <= limit);
        fits.is_some_and(|(_, arrival)| arrival.permit.take().is_some())
    }
}
