//! Collectives as data: for every rank, which range it sends, receives and adds, and in which order.
//!
//! A schedule is a pure function of the shape (zones, length, alignment, segment length, algorithm), so
//! every rank builds the same one and none has to be sent. [`Schedule::verify`] proves by symbolic
//! execution what a schedule promises; [`Schedule::traffic`] is the byte formula that plan and ledger share;
//! [`Round`](crate::round) executes one rank's [`Program`].
//!
//! Invariants: every element is reduced exactly once from each rank; the order of additions is a function
//! of element, length and membership alone, never of arrival; what crosses a zone border is a sum over all
//! ranks of the sender's zone; with a codec every contribution is rounded equally often, the own one too. The sum
//! of a [`NodeGroup`] counts as one contribution, in an order of additions that is its library's.
//! Inside a zone sums run from the owner's successor round to the owner, across zones in zone order, so
//! `ring`, `direct` and `one-shot` give equal bits.
//!
//! Sources: Patarasuk and Yuan, "Bandwidth optimal all-reduce algorithms for clusters of workstations",
//! 2009; Thakur, Rabenseifner and Gropp, "Optimization of collective communication operations in MPICH", 2005.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::dtype::Codec;
use crate::ids::Rank;
use crate::job::Algorithm;

pub use choose::Choice;
pub use node_group::NodeGroup;
pub use program::{Action, Coverage, Interval, Level, Phase, Program, Term};
pub use traffic::{Border, Flow, Traffic};
pub use tree::Tree;
pub use verify::Violation;

mod build;
mod choose;
mod node_group;
mod ownership;
mod program;
mod traffic;
mod tree;
mod verify;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Collective {
    /// Every rank ends with the sum over all ranks.
    AllReduce,
    /// In every zone the owners end with the sums of the ranges they own.
    ReduceScatter,
    /// Owners send the ranges they own to the other ranks of their zone; nothing crosses a border.
    Gather,
}

/// What a schedule is a function of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Shape {
    /// The ranks of each zone, in zone order and rank order. Zones may differ in size.
    pub zones: Vec<Vec<Rank>>,
    /// Length of the buffer in elements; may be 0.
    pub elems: usize,
    /// Bounds of what a rank owns are multiples of this.
    pub align: usize,
    /// Longest range that travels as one frame.
    pub segment_elems: usize,
    pub algorithm: Algorithm,
    /// How values are packed where the root's children meet: between zones, or between the ranks of one.
    pub codec: Codec,
    /// Ranks that sum among themselves, for sums by `zoned`; see [`NodeGroup`].
    pub nodes: Vec<Vec<Rank>>,
}

/// Why no schedule can be built. Always the caller's settings, never a peer's fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    #[error("zone {zone} has no ranks")]
    EmptyZone { zone: usize },
    #[error("a schedule needs at least one zone")]
    NoZones,
    #[error("{rank} appears twice")]
    Twice { rank: Rank },
    #[error("alignment ({align}) and segment length ({segment_elems}) must not be 0")]
    ZeroLength { align: usize, segment_elems: usize },
    #[error("`{algorithm}` works inside one zone, not across {zones}: use `zoned`")]
    OneZoneOnly { algorithm: &'static str, zones: usize },
    #[error("a ring would round every partial sum: `{codec}` needs `direct` or `zoned`")]
    RingRounds { codec: Codec },
    #[error(
        "alignment ({align}) and segment length ({segment_elems}) must be multiples of the {block} elements of a block of `{codec}`"
    )]
    Blocks { align: usize, segment_elems: usize, block: usize, codec: Codec },
    #[error("only `zoned` leaves sums to the ranks of a node, not `{algorithm}`")]
    NodesNeedZoned { algorithm: &'static str },
    #[error(
        "{ranks:?} are no ranks of one zone that can sum among themselves: at least two, in order, each once"
    )]
    NodeGroup { ranks: Vec<Rank> },
    #[error("the owned ranges of zone {zone} do not cover 0..{elems} exactly once")]
    Ownership { zone: usize, elems: usize },
}

/// The programs of all ranks for one collective.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    collective: Collective,
    tree: Tree,
    zones: Vec<Vec<Rank>>,
    elems: usize,
    result_level: Level,
    codec: Codec,
    owned: BTreeMap<Rank, Vec<Range<usize>>>,
    nodes: Vec<NodeGroup>,
    programs: BTreeMap<Rank, Arc<Program>>,
}

impl Schedule {
    pub fn build(collective: Collective, shape: &Shape) -> Result<Schedule, ScheduleError> {
        check(shape)?;
        let root = ownership::Node::new(collective, &Tree::of_zones(&shape.zones), shape);
        Ok(build::build(collective, shape, &root))
    }

    /// A [`Collective::Gather`] whose owners are given: `owned` lists for each rank the ranges it provides.
    ///
    /// For what is indexed otherwise than the reduced buffer but owned alike, such as one norm per chunk.
    pub fn gather(
        shape: &Shape,
        owned: &BTreeMap<Rank, Vec<Range<usize>>>,
    ) -> Result<Schedule, ScheduleError> {
        check(shape)?;
        let mut root = ownership::Node::new(Collective::Gather, &Tree::of_zones(&shape.zones), shape);
        root.assign(shape, owned)?;
        Ok(build::build(Collective::Gather, shape, &root))
    }

    pub fn collective(&self) -> Collective {
        self.collective
    }

    pub fn elems(&self) -> usize {
        self.elems
    }

    pub fn zones(&self) -> &[Vec<Rank>] {
        &self.zones
    }

    pub fn ranks(&self) -> impl Iterator<Item = Rank> {
        self.programs.keys().copied()
    }

    /// The zone's index in zone order.
    pub fn zone_of(&self, rank: Rank) -> Option<usize> {
        self.zones.iter().position(|zone| zone.contains(&rank))
    }

    /// What the rank executes; none for a rank that does not take part.
    pub fn program(&self, rank: Rank) -> Option<&Arc<Program>> {
        self.programs.get(&rank)
    }

    /// The ranges whose sum the rank forms (for a gather: that it provides), sorted and disjoint.
    /// In every zone they cover the buffer exactly once.
    pub fn owned(&self, rank: Rank) -> &[Range<usize>] {
        self.owned.get(&rank).map_or(&[], Vec::as_slice)
    }

    /// The group of a rank that sums with others of its node before its program begins; none if it does not.
    pub fn node_group(&self, rank: Rank) -> Option<&NodeGroup> {
        self.nodes.iter().find(|node| node.ranks.contains(&rank))
    }

    /// How values are packed where that is asked for.
    pub fn codec(&self) -> Codec {
        self.codec
    }

    /// The buffer level that holds the result.
    pub fn result_level(&self) -> Level {
        self.result_level
    }

    /// Proves the promises of the module by symbolic execution.
    ///
    /// `min_contributors`: ranks that a sum must cover before it crosses a zone border.
    pub fn verify(&self, min_contributors: usize) -> Result<(), Violation> {
        verify::verify(self, min_contributors)
    }

    /// Frames and bytes on every link.
    pub fn traffic(&self, dtype: crate::dtype::DType) -> Traffic {
        traffic::traffic(self, dtype)
    }
}

fn check(shape: &Shape) -> Result<(), ScheduleError> {
    let Shape { zones, align, segment_elems, algorithm, codec, nodes, .. } = shape;
    if zones.is_empty() {
        return Err(ScheduleError::NoZones);
    }
    if let Some(zone) = zones.iter().position(Vec::is_empty) {
        return Err(ScheduleError::EmptyZone { zone });
    }
    let mut seen = BTreeSet::new();
    if let Some(rank) = zones.iter().flatten().find(|rank| !seen.insert(**rank)) {
        return Err(ScheduleError::Twice { rank: *rank });
    }
    if *align == 0 || *segment_elems == 0 {
        return Err(ScheduleError::ZeroLength { align: *align, segment_elems: *segment_elems });
    }
    let block = codec.block_elems();
    if !align.is_multiple_of(block) || !segment_elems.is_multiple_of(block) {
        let (align, segment_elems, codec) = (*align, *segment_elems, *codec);
        return Err(ScheduleError::Blocks { align, segment_elems, block, codec });
    }
    if *algorithm == Algorithm::Ring && codec.is_lossy() {
        return Err(ScheduleError::RingRounds { codec: *codec });
    }
    if *algorithm != Algorithm::Zoned && zones.len() > 1 {
        return Err(ScheduleError::OneZoneOnly { algorithm: algorithm.name(), zones: zones.len() });
    }
    if *algorithm != Algorithm::Zoned && !nodes.is_empty() {
        return Err(ScheduleError::NodesNeedZoned { algorithm: algorithm.name() });
    }
    node_group::check(zones, nodes)
}

#[cfg(test)]
mod tests;
