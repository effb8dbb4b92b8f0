//! From owners to programs: up the tree to form sums, down again to hand them out.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use crate::dtype::Codec;
use crate::ids::Rank;

use super::ownership::{Combining, Node};
use super::{
    Action, Collective, Coverage, Interval, Level, Phase, Program, Schedule, Shape, Term, Tree, node_group,
};

pub(super) fn build(collective: Collective, shape: &Shape, root: &Node) -> Schedule {
    let top = root.level;
    let result_level = if collective == Collective::Gather { Level(0) } else { top };
    let ranks = shape.zones.iter().map(Vec::len).sum();
    let digest = digest(collective, shape, root);
    let empty = |rank: &Rank| {
        let (elems, intervals) = (shape.elems, Vec::new());
        (*rank, Program { rank: *rank, elems, result_level, ranks, digest, intervals })
    };
    let mut programs: BTreeMap<Rank, Program> = shape.zones.iter().flatten().map(empty).collect();
    for range in intervals(shape, root) {
        let mut draft = Draft { shape, top, actions: BTreeMap::new() };
        if collective != Collective::Gather {
            draft.reduce(root, range.start);
        }
        if collective != Collective::ReduceScatter {
            draft.distribute(root, range.start, result_level);
        }
        if collective == Collective::Gather {
            draft.keep(root, range.start);
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
        codec: shape.codec,
        owned: root.owned(),
        nodes: node_group::build(&shape.zones, &shape.nodes, root),
        programs: programs.into_iter().map(|(rank, program)| (rank, Arc::new(program))).collect(),
    }
}

/// Equal for equal schedules, and in practice for no others.
fn digest(collective: Collective, shape: &Shape, root: &Node) -> u32 {
    let owned = root.owned();
    let text = serde_json::to_vec(&(collective, shape, owned)).expect("numbers, names and string keys");
    let [a, b, c, d, ..] = crate::prng::hash_bytes(&text).to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
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
///
/// A codec is used where the root's children meet: between zones, or between the ranks of a single one.
/// Each value is rounded once on its way up and, where one rank forms the total for others, once on its way
/// down; inside the zones of a larger group nothing is rounded.
struct Draft<'a> {
    shape: &'a Shape,
    top: Level,
    actions: BTreeMap<Rank, Vec<Action>>,
}

impl Draft<'_> {
    /// Forms the sum over the subtree at its owner (in an exchange: at every child's owner).
    fn reduce(&mut self, node: &Node, element: usize) {
        node.children.iter().for_each(|child| self.reduce(child, element));
        let children = self.child_owners(node, element);
        let round = from_successor(&children, node.owner(element));
        match node.combining {
            Combining::Leaf => {}
            Combining::Scatter => self.scatter(node, &round),
            Combining::Ring => self.ring(node, &round),
            Combining::OneShot => self.exchange(node, &round, Coverage::Partial),
            Combining::Exchange => self.exchange(node, &children, Coverage::Complete),
        }
    }

    fn scatter(&mut self, node: &Node, round: &[(Rank, Level)]) {
        let Some(((owner, own_level), others)) = round.split_last() else { return };
        let (phase, codec) = (up(node), self.codec_at(node));
        for (from, level) in others {
            self.send(*from, vec![*owner], *level, phase, Coverage::Partial, codec);
        }
        if codec.is_lossy() && !others.is_empty() {
            self.send(*owner, Vec::new(), *own_level, phase, Coverage::Partial, codec);
        }
        let from = |(rank, _): &(Rank, Level)| Term::From { rank: *rank, phase, codec };
        let terms = others.iter().map(from).chain([Term::Own(*own_level)]).collect();
        self.push(*owner, Action::Reduce { terms, into: node.level });
    }

    fn ring(&mut self, node: &Node, round: &[(Rank, Level)]) {
        let (phase, codec) = (up(node), Codec::None);
        let mut previous = None;
        for (index, (rank, level)) in round.iter().enumerate() {
            let mut sum_level = *level;
            let next = round.get(index + 1).map(|(next, _)| *next);
            // The first of the ring sends its own values as they are.
            if previous.is_some() || next.is_none() {
                let from = previous.map(|rank| Term::From { rank, phase, codec });
                let terms = from.into_iter().chain([Term::Own(*level)]).collect();
                self.push(*rank, Action::Reduce { terms, into: node.level });
                sum_level = node.level;
            }
            if let Some(next) = next {
                self.send(*rank, vec![next], sum_level, phase, Coverage::Partial, codec);
            }
            previous = Some(*rank);
        }
    }

    /// Everybody sends to all others and forms the sum, all in the order of `children`.
    fn exchange(&mut self, node: &Node, children: &[(Rank, Level)], coverage: Coverage) {
        let (phase, codec) = (up(node), self.codec_at(node));
        for (from, level) in children {
            let to: Vec<Rank> = children.iter().map(|(to, _)| *to).filter(|to| to != from).collect();
            if !to.is_empty() {
                self.send(*from, to, *level, phase, coverage, codec);
            }
        }
        for (at, _) in children {
            let term = |(rank, level): &(Rank, Level)| match rank == at {
                true => Term::Own(*level),
                false => Term::From { rank: *rank, phase, codec },
            };
            let terms = children.iter().map(term).collect();
            self.push(*at, Action::Reduce { terms, into: node.level });
        }
    }

    /// Hands what the owner holds at `level` to everybody in the subtree.
    fn distribute(&mut self, node: &Node, element: usize, level: Level) {
        let round = from_successor(&self.child_owners(node, element), node.owner(element));
        // Above every phase of the way up; lower groups come later.
        let phase = Phase(2 * self.top.0 - node.level.0);
        let codec = self.codec_at(node);
        match (node.combining, round.split_last()) {
            (Combining::Leaf | Combining::Exchange | Combining::OneShot, _) | (_, None) => {}
            (_, Some((_, []))) => {}
            (Combining::Scatter, Some(((owner, _), others))) => {
                let to = others.iter().map(|(to, _)| *to).collect();
                self.send(*owner, to, level, phase, Coverage::Complete, codec);
                for (to, _) in others {
                    self.store(*to, *owner, level, phase, codec);
                }
            }
            (Combining::Ring, Some(((owner, _), others))) => {
                let mut from = *owner;
                for (to, _) in others {
                    self.send(from, vec![*to], level, phase, Coverage::Complete, Codec::None);
                    self.store(*to, from, level, phase, Codec::None);
                    from = *to;
                }
            }
        }
        node.children.iter().for_each(|child| self.distribute(child, element, level));
    }

    /// What an owner hands out is its own result too: out of place it has to be stored as the others store it.
    fn keep(&mut self, node: &Node, element: usize) {
        if node.combining == Combining::Exchange {
            return node.children.iter().for_each(|zone| self.keep(zone, element));
        }
        if let Some(owner) = node.owner(element) {
            self.push(owner, Action::Reduce { terms: vec![Term::Own(Level(0))], into: Level(0) });
        }
    }

    /// For each child the rank that holds its sum, and the level it lies in. Of ranks that sum among themselves only
    /// who holds that sum.
    fn child_owners(&self, node: &Node, element: usize) -> Vec<(Rank, Level)> {
        let Shape { zones, nodes, .. } = self.shape;
        let speaks =
            |rank: Rank| match (nodes.iter().find(|group| group.contains(&rank)), node.owner(element)) {
                (Some(group), Some(owner)) => node_group::holder(zones, group, owner) == rank,
                _ => true,
            };
        let children = node.children.iter().filter_map(|child| Some((child.owner(element)?, child.level)));
        children.filter(|(rank, _)| speaks(*rank)).collect()
    }

    fn codec_at(&self, node: &Node) -> Codec {
        if node.level == self.top { self.shape.codec } else { Codec::None }
    }

    fn send(
        &mut self,
        from: Rank,
        to: Vec<Rank>,
        level: Level,
        phase: Phase,
        coverage: Coverage,
        codec: Codec,
    ) {
        self.push(from, Action::Send { to, level, phase, coverage, codec });
    }

    fn store(&mut self, at: Rank, from: Rank, into: Level, phase: Phase, codec: Codec) {
        let terms = vec![Term::From { rank: from, phase, codec }];
        self.push(at, Action::Reduce { terms, into });
    }

    fn push(&mut self, rank: Rank, action: Action) {
        self.actions.entry(rank).or_default().push(action);
    }
}

/// The phase of what travels up to a node.
fn up(node: &Node) -> Phase {
    Phase(node.level.0 - 1)
}

/// The children from the owner's successor round to the owner: the order of additions inside a zone.
fn from_successor(children: &[(Rank, Level)], owner: Option<Rank>) -> Vec<(Rank, Level)> {
    let mut round = children.to_vec();
    if let Some(index) = children.iter().position(|(rank, _)| Some(*rank) == owner) {
        round.rotate_left(index + 1);
    }
    round
}
