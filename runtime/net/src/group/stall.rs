//! Peers that are held up for want of room, while what this rank waits for lies behind.
//!
//! Room comes back by itself as rounds go on, the oldest first, as long as the peers send in the order in which
//! this rank submitted. Where a younger round's segments fill a lane and an older one waits for the peer, they
//! are let go, one by one: the oldest round can always go on. A rank that is merely ahead of others is not let
//! go: some of its segments wait for peers that can still send.

use hcrun_protocol::Rank;
use hcrun_protocol::buffers::Buffers;
use tokio::sync::OwnedSemaphorePermit;

use super::shell::{Active, Shell};

/// A lane that is held up here.
type Held = (Rank, usize);

impl<B: Buffers> Shell<B> {
    /// To be called when there is nothing to do but wait.
    pub(super) fn let_go_on(&mut self) {
        loop {
            let held = self.held_up();
            if !held.iter().any(|lane| self.make_room(*lane, &held)) {
                return;
            }
        }
    }

    /// Lanes whose next segment does not fit beside those that are here.
    fn held_up(&self) -> Vec<Held> {
        let mut lanes = self.outbox.asking();
        lanes.retain(|(peer, lane, limit)| {
            let staged: usize = self.active.values().map(|active| active.room(*peer, *lane)).sum();
            staged + self.early.held(*peer, *lane) > *limit
        });
        lanes.into_iter().map(|(peer, lane, _)| (peer, lane)).collect()
    }

    /// Lets one segment of the lane go, if it is stalled.
    fn make_room(&mut self, lane: Held, held: &[Held]) -> bool {
        let (peer, _) = lane;
        let awaiting = self.active.values().filter(|active| active.owed.get(&peer).is_some_and(|n| *n > 0));
        let Some(oldest) = awaiting.map(|active| active.age).min() else { return false };
        if self.active.values().any(|active| active.moves(lane, held, oldest)) {
            return false;
        }
        self.let_go_after(Some(oldest), lane)
            || self.early.let_go(peer, lane.1, self.spec.staging_bytes)
            || self.let_go_after(None, lane)
    }

    /// One of the youngest round, if that is younger than `oldest`.
    fn let_go_after(&mut self, oldest: Option<u64>, (peer, lane): Held) -> bool {
        let younger =
            self.active.values_mut().filter(|active| oldest.is_none_or(|oldest| active.age > oldest));
        let with_segments = younger.filter(|active| active.room(peer, lane) > 0);
        with_segments.max_by_key(|active| active.age).is_some_and(|active| active.let_go(peer, lane))
    }
}

impl<B: Buffers> Active<B> {
    /// How much room segments of the lane hold.
    fn room(&self, peer: Rank, lane: usize) -> usize {
        let staged = self.staged.iter().filter(|((from, ..), staged)| *from == peer && staged.lane == lane);
        staged.filter_map(|(_, staged)| staged.permit.as_ref()).map(OwnedSemaphorePermit::num_permits).sum()
    }

    /// Whether a segment of the lane will be used without anything that lies behind one that is held up.
    fn moves(&self, (peer, lane): Held, held: &[Held], oldest: u64) -> bool {
        let mut staged = self
            .staged
            .iter()
            .filter(|((from, ..), staged)| *from == peer && staged.lane == lane && staged.permit.is_some());
        staged.any(|((_, start, _), _)| match self.round.awaited(*start) {
            // It waits for this rank's own sends. Those of younger rounds wait for older rounds.
            None => self.age <= oldest,
            Some(ranks) => !held.iter().any(|(peer, _)| ranks.contains(peer)),
        })
    }

    fn let_go(&mut self, peer: Rank, lane: usize) -> bool {
        let mut staged =
            self.staged.iter_mut().filter(|((from, ..), staged)| *from == peer && staged.lane == lane);
        staged.any(|(_, staged)| staged.permit.take().is_some())
    }
}
