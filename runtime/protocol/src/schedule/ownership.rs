//! Who forms the sum of which element, for every group of the tree.
//!
//! A rank owns all of its own contribution. A group takes the common refinement of its children's bounds,
//! so that on each elementary range every child has one owner, and cuts that range into one aligned piece
//! per child: piece `i` goes to the owner in child `i`. Between zones nothing is cut, because the total is
//! wanted in every zone: each zone's owner forms it for itself.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::ids::Rank;
use crate::job::Algorithm;

use super::{Collective, Level, ScheduleError, Shape, Tree};

/// How a group forms the sum of its children's sums.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Combining {
    /// A rank: there is nothing to combine.
    Leaf,
    /// Every child's owner sends to the owner of the piece.
    Scatter,
    /// Neighbour to neighbour, ending at the owner; children are ranks.
    Ring,
    /// Every rank sends everything to all others, each forms the sum; children are ranks.
    OneShot,
    /// Between zones: every child's owner sends to all others, each forms the sum.
    Exchange,
}

/// A subtree with its owners.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) level: Level,
    pub(super) combining: Combining,
    pub(super) children: Vec<Node>,
    /// Sorted, not empty, covering the buffer; empty for an exchange.
    owners: Vec<(Range<usize>, Rank)>,
}

impl Node {
    pub(super) fn new(collective: Collective, tree: &Tree, shape: &Shape) -> Node {
        let mut root = Node::scatter(tree, shape);
        if shape.zones.len() > 1 {
            root.combining = Combining::Exchange;
            root.owners.clear();
            return root;
        }
        root.combining = match (shape.algorithm, collective) {
            (Algorithm::Ring, _) => Combining::Ring,
            // Only where everybody wants everything.
            (Algorithm::OneShot, Collective::AllReduce) => Combining::OneShot,
            _ => Combining::Scatter,
        };
        root
    }

    fn scatter(tree: &Tree, shape: &Shape) -> Node {
        match tree {
            Tree::Rank(rank) => {
                let owners = Vec::from_iter((shape.elems > 0).then_some((0..shape.elems, *rank)));
                Node { level: tree.level(), combining: Combining::Leaf, children: Vec::new(), owners }
            }
            Tree::Group(children) => {
                let children: Vec<Node> = children.iter().map(|child| Node::scatter(child, shape)).collect();
                let owners = scatter_owners(&children, shape);
                Node { level: tree.level(), combining: Combining::Scatter, children, owners }
            }
        }
    }

    /// Replaces the owners of each zone by given ones.
    pub(super) fn assign(
        &mut self,
        shape: &Shape,
        owned: &BTreeMap<Rank, Vec<Range<usize>>>,
    ) -> Result<(), ScheduleError> {
        let zone_nodes = match self.combining {
            Combining::Exchange => self.children.as_mut_slice(),
            _ => std::slice::from_mut(self),
        };
        for (zone, node) in zone_nodes.iter_mut().enumerate() {
            let ranges = |rank: &Rank| {
                let of_rank = owned.get(rank).into_iter().flatten().filter(|range| !range.is_empty());
                of_rank.map(|range| (range.clone(), *rank)).collect::<Vec<_>>()
            };
            let mut owners: Vec<_> = shape.zones[zone].iter().flat_map(ranges).collect();
            owners.sort_by_key(|(range, _)| range.start);
            let starts = owners.iter().map(|(range, _)| range.start).chain([shape.elems]);
            let ends = [0].into_iter().chain(owners.iter().map(|(range, _)| range.end));
            if !starts.eq(ends) {
                return Err(ScheduleError::Ownership { zone, elems: shape.elems });
            }
            node.owners = owners;
        }
        Ok(())
    }

    /// The owner of the element; none only in an exchange.
    pub(super) fn owner(&self, element: usize) -> Option<Rank> {
        let index = self.owners.partition_point(|(range, _)| range.end <= element);
        self.owners.get(index).map(|(_, rank)| *rank)
    }

    /// Every bound that occurs in the subtree.
    pub(super) fn bounds(&self) -> Vec<usize> {
        let own = self.owners.iter().map(|(range, _)| range.start);
        own.chain(self.children.iter().flat_map(Node::bounds)).collect()
    }

    /// The ranges of each zone's owners.
    pub(super) fn owned(&self) -> BTreeMap<Rank, Vec<Range<usize>>> {
        let mut owned: BTreeMap<Rank, Vec<Range<usize>>> = BTreeMap::new();
        let zone_nodes = match self.combining {
            Combining::Exchange => self.children.as_slice(),
            _ => std::slice::from_ref(self),
        };
        for (range, rank) in zone_nodes.iter().flat_map(|node| &node.owners) {
            let ranges = owned.entry(*rank).or_default();
            match ranges.last_mut() {
                Some(last) if last.end == range.start => last.end = range.end,
                _ => ranges.push(range.clone()),
            }
        }
        owned
    }
}

fn scatter_owners(children: &[Node], shape: &Shape) -> Vec<(Range<usize>, Rank)> {
    let mut bounds: Vec<usize> = children.iter().flat_map(Node::bounds).chain([shape.elems]).collect();
    bounds.sort_unstable();
    bounds.dedup();
    let mut owners = Vec::new();
    for elementary in bounds.windows(2).map(|pair| pair[0]..pair[1]) {
        let pieces = pieces(elementary.clone(), children.len(), shape.align);
        let candidates = children.iter().filter_map(|child| child.owner(elementary.start));
        owners.extend(pieces.into_iter().zip(candidates).filter(|(piece, _)| !piece.is_empty()));
    }
    owners
}

/// Cuts a range that begins at a multiple of `align` into `count` pieces: bounds at multiples of `align`,
/// lengths differing by at most `align`, empty ones first when there is too little to share.
fn pieces(range: Range<usize>, count: usize, align: usize) -> Vec<Range<usize>> {
    let units = range.len().div_ceil(align);
    // The pieces with one unit more come last, where the short last unit makes up for it.
    let bound = |index: usize| {
        let extra = index.saturating_sub(count - units % count);
        (range.start + (index * (units / count) + extra) * align).min(range.end)
    };
    (0..count).map(|index| bound(index)..bound(index + 1)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_aligned_and_even() {
        for len in 0..70 {
            for count in 1..8 {
                for align in [1, 4, 10] {
                    let pieces = pieces(20..20 + len, count, align);
                    assert_eq!((pieces[0].start, pieces[count - 1].end), (20, 20 + len));
                    assert!(pieces.windows(2).all(|pair| pair[0].end == pair[1].start));
                    assert!(pieces.iter().all(|piece| (piece.start - 20) % align == 0 || piece.is_empty()));
                    let lens = pieces.iter().map(|piece| piece.len());
                    let spread = lens.clone().max().unwrap() - lens.min().unwrap();
                    assert!(spread <= align, "{len} elements, {count} pieces at {align}: {pieces:?}");
                }
            }
        }
    }
}
