//! What one rank does in a collective.

use std::fmt;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::dtype::Codec;
use crate::ids::Rank;

/// A numbered buffer of a round: 0 is the rank's own contribution, 1 the sum over its zone, 2 the total
/// (in general the height of the subtree that is summed).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Level(pub u8);

impl Level {
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// Tells apart the frames that carry one range from one rank within a round; travels in the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Phase(pub u8);

/// Whether a frame may cross a zone border; travels in the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Coverage {
    /// One worker's values or a sum that misses workers of the sender's zone.
    Partial,
    /// A sum over all workers of the sender's zone at least, or values that are not per worker.
    Complete,
}

/// One operand of a reduction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Term {
    /// What the rank holds at this level.
    Own(Level),
    /// What comes from another rank.
    From { rank: Rank, phase: Phase, codec: Codec },
}

/// One step on one interval. The steps of an interval happen strictly in order. Levels of an interval follow
/// each other: what was written last is the only one that is read, so that all may lie in one place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Packs a level once and sends it to all of `to`. With a lossy codec the level holds afterwards what
    /// the receivers decode; with nobody in `to` that is all it does.
    Send { to: Vec<Rank>, level: Level, phase: Phase, coverage: Coverage, codec: Codec },
    /// Combines the terms in their order into a level, once all of them are there.
    Reduce { terms: Vec<Term>, into: Level },
}

/// A range that no frame or owner ever cuts, and what happens to it. Intervals progress independently of
/// each other: that is the cut-through.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interval {
    pub range: Range<usize>,
    pub actions: Vec<Action>,
}

/// All intervals of one rank, sorted and disjoint; those without actions are left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    pub rank: Rank,
    pub elems: usize,
    pub result_level: Level,
    /// How many ranks contribute to a total.
    pub ranks: usize,
    /// Names what the schedule is a function of. Travels with each segment, so that ranks that were asked
    /// for different collectives find out at the first one.
    pub digest: u32,
    pub intervals: Vec<Interval>,
}

impl Program {
    /// The index of the interval with exactly this range.
    pub fn find(&self, range: &Range<usize>) -> Option<usize> {
        let index =
            self.intervals.binary_search_by_key(&range.start, |interval| interval.range.start).ok()?;
        (self.intervals[index].range == *range).then_some(index)
    }

    /// Whether an action of an interval forms the total of all contributions. A ring keeps its partial sums at
    /// the level of the result: what is sent on as partial is no total.
    pub fn forms_total(&self, interval: &Interval, action: usize) -> bool {
        let sent_on = matches!(
            interval.actions.get(action + 1),
            Some(Action::Send { level, coverage: Coverage::Partial, .. }) if *level == self.result_level
        );
        let combines = matches!(
            &interval.actions[action],
            Action::Reduce { terms, into } if *into == self.result_level && terms.len() > 1
        );
        combines && !sent_on
    }

    /// How the segment is packed that `from` sends for this range in this phase, if any is expected.
    pub fn expected(&self, from: Rank, range: &Range<usize>, phase: Phase) -> Option<Codec> {
        self.intervals[self.find(range)?].terms().find_map(|term| match term {
            Term::From { rank, phase: its, codec } if *rank == from && *its == phase => Some(*codec),
            _ => None,
        })
    }

    /// Every frame that the rank receives, with its length in elements: the bound of what may have to be
    /// staged for the round.
    pub fn receives(&self) -> impl Iterator<Item = (Rank, usize)> {
        self.intervals.iter().flat_map(|interval| {
            let elems = interval.range.len();
            interval.terms().filter_map(move |term| match term {
                Term::From { rank, .. } => Some((*rank, elems)),
                Term::Own(_) => None,
            })
        })
    }
}

impl Interval {
    /// The operands of all its reductions.
    pub fn terms(&self) -> impl Iterator<Item = &Term> {
        self.actions.iter().flat_map(|action| match action {
            Action::Reduce { terms, .. } => terms.as_slice(),
            Action::Send { .. } => &[],
        })
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "level {}", self.0)
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "phase {}", self.0)
    }
}
