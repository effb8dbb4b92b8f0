//! Parts of checkpoints: which ranks have handed over their part of the state after which step.
//!
//! A rank hands its parts over in the order of their steps, each once, and each after it has reported the
//! step; so a count per step says which checkpoints are complete.

use std::collections::BTreeMap;

use crate::ids::{Rank, Step};

/// Checkpoints of which some part has come and some has not. Ranks are at most a step apart, their links may
/// be more; beyond this the one that lags is at fault.
const MAX_OPEN: usize = 4_096;

#[derive(Debug)]
pub(super) struct Handovers {
    /// The last step that each rank whose part is waited for has handed over.
    last: BTreeMap<Rank, Option<Step>>,
    /// How many parts are here.
    open: BTreeMap<Step, usize>,
}

/// A part that is refused, and whose fault that is.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) rank: Rank,
    pub(super) text: String,
}

impl Handovers {
    pub(super) fn new(ranks: impl Iterator<Item = Rank>) -> Handovers {
        Handovers { last: ranks.map(|rank| (rank, None)).collect(), open: BTreeMap::new() }
    }

    /// Whether this rank's parts are waited for.
    pub(super) fn awaits(&self, rank: Rank) -> bool {
        self.last.contains_key(&rank)
    }

    /// The first of those whose parts are waited for.
    pub(super) fn first(&self) -> Option<Rank> {
        self.last.keys().next().copied()
    }

    pub(super) fn add(&mut self, rank: Rank, step: Step) -> Result<(), Refusal> {
        let last = self.last.get(&rank).copied().flatten();
        if last >= Some(step) {
            return Err(Refusal { rank, text: format!("handed over the state after step {step} again") });
        }
        if !self.open.contains_key(&step) && self.open.len() >= MAX_OPEN {
            let lags = self.last.iter().min_by_key(|(_, last)| **last).map_or(rank, |(rank, _)| *rank);
            let text = format!("has yet to hand over state, {MAX_OPEN} checkpoints wait for parts");
            return Err(Refusal { rank: lags, text });
        }
        self.last.insert(rank, Some(step));
        *self.open.entry(step).or_default() += 1;
        Ok(())
    }

    /// The newest checkpoint of which all parts are here, and whose step is committed.
    pub(super) fn newest_complete(&self, committed: Option<Step>) -> Option<Step> {
        let complete =
            |(step, parts): &(&Step, &usize)| **parts == self.last.len() && committed >= Some(**step);
        self.open.iter().rev().find(complete).map(|(step, _)| *step)
    }

    /// Forgets those before `step`: it is newer than they.
    pub(super) fn overtake(&mut self, step: Step) -> impl Iterator<Item = Step> + use<> {
        let newer = self.open.split_off(&step);
        std::mem::replace(&mut self.open, newer).into_keys()
    }

    pub(super) fn take(&mut self, step: Step) {
        self.open.remove(&step);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_comes_once_and_in_order() {
        let mut handovers = Handovers::new([Rank(1), Rank(4)].into_iter());
        handovers.add(Rank(1), Step(5)).unwrap();
        for again in [5, 4] {
            assert_eq!(handovers.add(Rank(1), Step(again)).unwrap_err().rank, Rank(1));
        }
        assert_eq!(handovers.newest_complete(Some(Step(5))), None);
        handovers.add(Rank(4), Step(5)).unwrap();
        assert_eq!(handovers.newest_complete(Some(Step(4))), None);
        assert_eq!(handovers.newest_complete(Some(Step(5))), Some(Step(5)));
        handovers.take(Step(5));
        // One that is stored cannot come again.
        assert!(handovers.add(Rank(4), Step(5)).is_err());
        assert!(handovers.is_empty());
    }

    #[test]
    fn of_many_open_checkpoints_the_one_that_lags_is_at_fault() {
        let mut handovers = Handovers::new([Rank(0), Rank(1)].into_iter());
        (0..MAX_OPEN as u64).for_each(|step| handovers.add(Rank(0), Step(step)).unwrap());
        let refused = handovers.add(Rank(0), Step(MAX_OPEN as u64)).unwrap_err();
        assert_eq!(refused.rank, Rank(1));
    }
}
