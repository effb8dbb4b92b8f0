//! What one rank does in a collective.

use std::fmt;
use std::ops::Range;

use serde::{Deserialize, Serialize};

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

/// How values enter a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Write {
    Store,
    /// Old value + new value.
    Add,
}

/// One step on one interval. The steps of an interval happen strictly in order; a level is never read before
/// it has been written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    Send { to: Rank, level: Level, phase: Phase, coverage: Coverage },
    Receive { from: Rank, into: Level, write: Write, phase: Phase },
    Combine { from: Level, into: Level, write: Write },
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
    pub intervals: Vec<Interval>,
}

impl Program {
    /// The index of the interval with exactly this range.
    pub fn find(&self, range: &Range<usize>) -> Option<usize> {
        let index =
            self.intervals.binary_search_by_key(&range.start, |interval| interval.range.start).ok()?;
        (self.intervals[index].range == *range).then_some(index)
    }

    /// Every frame that the rank receives, with its length in elements: the bound of what may have to be
    /// staged for the round.
    pub fn receives(&self) -> impl Iterator<Item = (Rank, usize)> {
        let receives = |interval: &'_ Interval| {
            let elems = interval.range.len();
            let from = interval.actions.iter().filter_map(|action| match action {
                Action::Receive { from, .. } => Some(*from),
                _ => None,
            });
            from.map(move |from| (from, elems)).collect::<Vec<_>>()
        };
        self.intervals.iter().flat_map(receives)
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
