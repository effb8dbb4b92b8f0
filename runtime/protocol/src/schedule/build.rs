//! From owners to programs: up the tree to form sums, down again to hand them out.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use crate::ids::Rank;

use super::ownership::{Combining, Node};
use super::{Action, Collective, Coverage, Interval, Level, Phase, Program, Schedule, Shape, Tree, Write};

pub(super) fn build(collective: Collective, shape: &Shape, root: &Node) -> Schedule {
    let top = root.level;
    let result_level = if collective == Collective::Gather { Level(0) } else { top };
    let empty = |rank: &Rank| {
        (*rank, Program { rank: *rank, elems: shape.elems, result_level, intervals: Vec::new() })
    };
    let mut programs: BTreeMap<Rank, Program> = shape.zones.iter().flatten().map(empty).collect();
    for range in intervals(shape, root) {
        let mut draft = Draft { top, actions: BTreeMap::new() };
        if collective != Collective::Gather {
            draft.reduce(root, range.start);
        }
        if collective != Collective::ReduceScatter {
            draft.distribute(root, range.start, result_level);
        }
        for (rank, actions) in draft.actions {
            let interval = Interval { range: range.clone(), actions };
            programs.entry(rank).and_modify(|program| program.intervals.push(interval));
        }
    }
    Schedule {
        collective,
        tree: Tree::of_zones(&shape.zones),
        zones: shape.zones.clone(),
        elems: shape.elems,
        result_level,
        owned: root.owned(),
        programs: programs.into_iter().map(|(rank, program)| (rank, Arc::new(program))).collect(),
    }
}

/// The buffer, cut at every bound of any owner and to segments.
fn intervals(shape: &Shape, root: &Node) -> Vec<Range<usize>> {
    let mut bounds = root.bounds();
    bounds.push(shape.elems);
    bounds.sort_unstable();
    bounds.dedup();
    let segments = |range: Range<usize>| {
        let end = range.end;
        range.step_by(shape.segment_elems).map(move |start| start..(start + shape.segment_elems).min(end))
    };
    bounds.windows(2).flat_map(|pair| segments(pair[0]..pair[1])).collect()
}

/// The actions of all ranks on one interval, in an order in which they could be executed one by one: every
/// send is drafted before its receive, so no schedule can deadlock.
struct Draft {
    top: Level,
    actions: BTreeMap<Rank, Vec<Action>>,
}

impl Draft {
    /// Forms the sum over the subtree at its owner (in an exchange: at every child's owner).
    fn reduce(&mut self, node: &Node, element: usize) {
        node.children.iter().for_each(|child| self.reduce(child, element));
        let children = child_owners(node, element);
        match node.combining {
            Combining::Leaf => {}
            Combining::Scatter => self.scatter(node, element, &children),
            Combining::Ring => self.ring(node, element, &children),
            Combining::Exchange => self.exchange(node, &children),
        }
    }

    fn scatter(&mut self, node: &Node, element: usize, children: &[(Rank, Level)]) {
        let round = from_successor(children, node.owner(element));
        let Some(((owner, own_level), others)) = round.split_last() else { return };
        let mut write = Write::Store;
        for (from, level) in others {
            self.send(*from, *owner, *level, Phase(node.level.0 - 1), Coverage::Partial);
            self.receive(*owner, *from, node.level, write, Phase(node.level.0 - 1));
            write = Write::Add;
        }
        self.push(*owner, Action::Combine { from: *own_level, into: node.level, write });
    }

    fn ring(&mut self, node: &Node, element: usize, children: &[(Rank, Level)]) {
        let round = from_successor(children, node.owner(element));
        let phase = Phase(node.level.0 - 1);
        let mut previous = None;
        for (index, (rank, level)) in round.iter().enumerate() {
            let next = round.get(index + 1).map(|(next, _)| *next);
            let sum_level = match (previous, next) {
                // The first of the ring sends its own values as they are.
                (None, Some(_)) => *level,
                (None, None) => {
                    self.push(*rank, Action::Combine { from: *level, into: node.level, write: Write::Store });
                    node.level
                }
                (Some(previous), _) => {
                    self.receive(*rank, previous, node.level, Write::Store, phase);
                    self.push(*rank, Action::Combine { from: *level, into: node.level, write: Write::Add });
                    node.level
                }
            };
            if let Some(next) = next {
                self.send(*rank, next, sum_level, phase, Coverage::Partial);
            }
            previous = Some(*rank);
        }
    }

    fn exchange(&mut self, node: &Node, children: &[(Rank, Level)]) {
        let phase = Phase(node.level.0 - 1);
        for (from, level) in children {
            for (to, _) in children.iter().filter(|(to, _)| to != from) {
                self.send(*from, *to, *level, phase, Coverage::Complete);
            }
        }
        for (at, own_level) in children {
            let mut write = Write::Store;
            for (from, _) in children {
                if from == at {
                    self.push(*at, Action::Combine { from: *own_level, into: node.level, write });
                } else {
                    self.receive(*at, *from, node.level, write, phase);
                }
                write = Write::Add;
            }
        }
    }

    /// Hands what the owner holds at `level` to everybody in the subtree.
    fn distribute(&mut self, node: &Node, element: usize, level: Level) {
        let round = from_successor(&child_owners(node, element), node.owner(element));
        // Above every phase of the way up; lower groups come later.
        let phase = Phase(2 * self.top.0 - node.level.0);
        match (node.combining, round.split_last()) {
            (Combining::Leaf | Combining::Exchange, _) | (_, None) => {}
            (Combining::Scatter, Some(((owner, _), others))) => {
                for (to, _) in others {
                    self.send(*owner, *to, level, phase, Coverage::Complete);
                    self.receive(*to, *owner, level, Write::Store, phase);
                }
            }
            (Combining::Ring, Some(((owner, _), others))) => {
                let mut from = *owner;
                for (to, _) in others {
                    self.send(from, *to, level, phase, Coverage::Complete);
                    self.receive(*to, from, level, Write::Store, phase);
                    from = *to;
                }
            }
        }
        node.children.iter().for_each(|child| self.distribute(child, element, level));
    }

    fn send(&mut self, from: Rank, to: Rank, level: Level, phase: Phase, coverage: Coverage) {
        self.push(from, Action::Send { to, level, phase, coverage });
    }

    fn receive(&mut self, at: Rank, from: Rank, into: Level, write: Write, phase: Phase) {
        self.push(at, Action::Receive { from, into, write, phase });
    }

    fn push(&mut self, rank: Rank, action: Action) {
        self.actions.entry(rank).or_default().push(action);
    }
}

/// For each child the rank that holds its sum, and the level it lies in.
fn child_owners(node: &Node, element: usize) -> Vec<(Rank, Level)> {
    node.children.iter().filter_map(|child| Some((child.owner(element)?, child.level))).collect()
}

/// The children from the owner's successor round to the owner: the order of additions inside a zone.
fn from_successor(children: &[(Rank, Level)], owner: Option<Rank>) -> Vec<(Rank, Level)> {
    let mut round = children.to_vec();
    if let Some(index) = children.iter().position(|(rank, _)| Some(*rank) == owner) {
        round.rotate_left(index + 1);
    }
    round
}
