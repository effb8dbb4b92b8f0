//! Rounds that have ended, to tell a repetition from a round to come.

use std::collections::{BTreeSet, VecDeque};

use hcrun_protocol::round::RoundId;

#[derive(Default)]
pub(super) struct Over {
    rounds: BTreeSet<RoundId>,
    /// As they ended.
    order: VecDeque<RoundId>,
}

/// More rounds than any two steps have. Those that ended before are forgotten: their repetition then counts
/// as early.
const LIMIT: usize = 4_096;

impl Over {
    pub(super) fn insert(&mut self, id: RoundId) {
        if self.rounds.insert(id) {
            self.order.push_back(id);
        }
        if self.order.len() > LIMIT
            && let Some(oldest) = self.order.pop_front()
        {
            self.rounds.remove(&oldest);
        }
    }

    pub(super) fn contains(&self, id: RoundId) -> bool {
        self.rounds.contains(&id)
    }
}

#[cfg(test)]
mod tests {
    use hcrun_protocol::{Generation, Step};

    use super::*;

    #[test]
    fn who_ended_first_is_forgotten_first() {
        let round = |tag| RoundId { generation: Generation(1), attempt: 0, step: Step(0), tag };
        let tags = 0..u32::try_from(LIMIT).unwrap() + 1;
        let mut over = Over::default();
        tags.clone().rev().for_each(|tag| over.insert(round(tag)));
        over.insert(round(0));
        let kept: Vec<u32> = tags.clone().filter(|tag| over.contains(round(*tag))).collect();
        assert_eq!(kept, (0..tags.end - 1).collect::<Vec<_>>());
    }
}
