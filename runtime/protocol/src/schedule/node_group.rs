//! Ranks of one node that sum among themselves before a program begins, and hand out results among themselves after
//! it has ended: the part of a collective that is left to a library of their devices, such as NCCL.
//!
//! Owners and what crosses a border do not depend on it: a group takes the place of its ranks inside their zone, and the
//! rank that holds the group's sum of a range sends and receives for it. Such a library needs its calls in one order
//! on all ranks, and rounds progress by arrival: so it is no action of a program, and whoever runs rounds calls it around them.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use crate::ids::Rank;

use super::ScheduleError;
use super::ownership::Node;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeGroup {
    /// In rank order; at least two, of one zone.
    pub ranks: Vec<Rank>,
    /// Where each rank has the group's sum when its program begins, and a result to hand out when it has ended:
    /// sorted and disjoint, together the whole buffer.
    pub held: BTreeMap<Rank, Vec<Range<usize>>>,
}

/// The groups that the ranks of `zones` form, with what they hold.
pub(super) fn build(zones: &[Vec<Rank>], nodes: &[Vec<Rank>], root: &Node) -> Vec<NodeGroup> {
    let owned = root.owned();
    let group = |ranks: &Vec<Rank>| {
        let mut held: BTreeMap<Rank, Vec<Range<usize>>> =
            ranks.iter().map(|rank| (*rank, Vec::new())).collect();
        for owner in zones.iter().find(|zone| zone.contains(&ranks[0])).into_iter().flatten() {
            let holder = holder(zones, ranks, *owner);
            held.entry(holder).or_default().extend(owned.get(owner).into_iter().flatten().cloned());
        }
        held.values_mut().for_each(merge);
        NodeGroup { ranks: ranks.clone(), held }
    };
    nodes.iter().map(group).collect()
}

/// Who of a group has the group's sum of what `owner`, a rank of its zone, owns: the owner itself, or one as far from the
/// zone's first as the owner is.
pub(super) fn holder(zones: &[Vec<Rank>], group: &[Rank], owner: Rank) -> Rank {
    if group.contains(&owner) {
        return owner;
    }
    let place = zones.iter().find_map(|zone| zone.iter().position(|rank| *rank == owner));
    group[place.unwrap_or(0) % group.len()]
}

fn merge(ranges: &mut Vec<Range<usize>>) {
    ranges.sort_unstable_by_key(|range| range.start);
    let mut merged: Vec<Range<usize>> = Vec::new();
    for range in ranges.drain(..) {
        match merged.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => merged.push(range),
        }
    }
    *ranges = merged;
}

pub(super) fn check(zones: &[Vec<Rank>], nodes: &[Vec<Rank>]) -> Result<(), ScheduleError> {
    let mut seen = BTreeSet::new();
    for ranks in nodes {
        let in_order = ranks.windows(2).all(|pair| pair[0] < pair[1]);
        let in_zone = zones.iter().any(|zone| ranks.iter().all(|rank| zone.contains(rank)));
        let alone = ranks.iter().all(|rank| seen.insert(*rank));
        if ranks.len() < 2 || !in_order || !in_zone || !alone {
            return Err(ScheduleError::NodeGroup { ranks: ranks.clone() });
        }
    }
    Ok(())
}
