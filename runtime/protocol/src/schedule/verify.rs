//! Proof of a schedule by symbolic execution.
//!
//! Buffers hold terms instead of numbers: a contribution, or the sum of two terms as the machine would form
//! it, so a term is the exact order of additions. All programs are run against each other, interval by
//! interval; what the ranks hold at the end, and what every frame carried, is then compared with what the
//! schedule promises. It knows the tree and the owners, but not how schedules are built.

use std::collections::BTreeMap;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

use crate::dtype::Codec;
use crate::ids::Rank;

use super::{
    Action, Collective, Coverage, Interval, Level, NodeGroup, Phase, Program, Schedule, Term as Operand, Tree,
};

/// A promise that a schedule breaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    #[error("{rank}: interval {range:?} overlaps another or is empty, out of order or outside the buffer")]
    Intervals { rank: Rank, range: Range<usize> },
    #[error("{rank} has {range:?} as an interval, which another rank cuts differently")]
    Ragged { rank: Rank, range: Range<usize> },
    #[error("{rank} sends {range:?} ({phase}) to {to} twice")]
    Duplicate { rank: Rank, to: Rank, range: Range<usize>, phase: Phase },
    #[error("{rank} reads {level} of {range:?}, where {current} was written last")]
    Overwritten { rank: Rank, level: Level, current: Level, range: Range<usize> },
    #[error("{rank} expects {range:?} from {from} packed as `{expected}`, it comes as `{got}`")]
    OtherCodec { rank: Rank, from: Rank, range: Range<usize>, expected: Codec, got: Codec },
    #[error("{rank} ends with {got} in {range:?}: some contributions are rounded more often than others")]
    UnevenRounding { rank: Rank, range: Range<usize>, got: String },
    #[error("{rank} waits for {range:?} ({phase}) from {from}, which never comes")]
    Deadlock { rank: Rank, from: Rank, range: Range<usize>, phase: Phase },
    #[error("{rank} sends {range:?} ({phase}) to {to}, which never takes it")]
    Unreceived { rank: Rank, to: Rank, range: Range<usize>, phase: Phase },
    #[error("{rank} lacks the result in {range:?}")]
    NoResult { rank: Rank, range: Range<usize> },
    #[error("{rank} ends with {got} in {range:?}: not every contribution once, in the stated order")]
    WrongSum { rank: Rank, range: Range<usize>, got: String },
    #[error("{rank} and {other} end with different sums in {range:?}")]
    Disagreement { rank: Rank, other: Rank, range: Range<usize> },
    #[error("zone {zone}: {range:?} is owned twice or not at all")]
    Owners { zone: usize, range: Range<usize> },
    #[error("{ranks:?} sum among themselves, and are not of one zone or in two such groups")]
    NodeGroup { ranks: Vec<Rank> },
    #[error("the sum of {ranks:?} in {range:?} is held twice or not at all")]
    Held { ranks: Vec<Rank>, range: Range<usize> },
    #[error("{rank} sends {got} over the border to {to}: not a sum over all of its zone")]
    LoneGradient { rank: Rank, to: Rank, got: String },
    #[error("{rank} marks {got} as complete: not a sum over all of its zone")]
    FalseMark { rank: Rank, got: String },
    #[error(
        "zone {zone} sends sums of {got} workers over its border, fewer than min_contributors = {needed}"
    )]
    TooFewContributors { zone: usize, got: usize, needed: usize },
    #[error("{rank} sends {range:?} over the border to {to}: a gather stays inside the zone")]
    GatherCrosses { rank: Rank, to: Rank, range: Range<usize> },
}

pub(super) fn verify(schedule: &Schedule, min_contributors: usize) -> Result<(), Violation> {
    let ranges = atomic_ranges(schedule)?;
    check_owners(schedule, &ranges)?;
    check_nodes(schedule, &ranges)?;
    ranges.iter().try_for_each(|range| {
        let mut run = Run::new(schedule, range.clone(), min_contributors);
        run.execute()?;
        run.hand_out();
        run.check_results()
    })
}

/// All ranges that occur, which must not cut each other, and what is left between them.
fn atomic_ranges(schedule: &Schedule) -> Result<Vec<Range<usize>>, Violation> {
    let mut ranges: BTreeMap<usize, Range<usize>> = BTreeMap::new();
    for (rank, program) in &schedule.programs {
        let mut end = 0;
        for Interval { range, .. } in &program.intervals {
            if range.start < end || range.is_empty() || range.end > schedule.elems {
                return Err(Violation::Intervals { rank: *rank, range: range.clone() });
            }
            end = range.end;
            let known = ranges.entry(range.start).or_insert_with(|| range.clone());
            if known != range {
                return Err(Violation::Ragged { rank: *rank, range: range.clone() });
            }
        }
    }
    let mut all = Vec::new();
    let mut end = 0;
    for range in ranges.into_values() {
        if range.start > end {
            all.push(end..range.start);
        }
        // Two ranks may cut each other without a common start.
        if range.start < end {
            let rank = schedule.programs.values().find(|program| program.find(&range).is_some());
            return Err(Violation::Ragged { rank: rank.map_or(Rank(0), |program| program.rank), range });
        }
        end = range.end;
        all.push(range);
    }
    if end < schedule.elems {
        all.push(end..schedule.elems);
    }
    Ok(all)
}

/// In every zone every element has one owner, and no interval has two.
fn check_owners(schedule: &Schedule, ranges: &[Range<usize>]) -> Result<(), Violation> {
    for (zone, ranks) in schedule.zones.iter().enumerate() {
        for range in ranges {
            let owners = ranks.iter().filter(|rank| owns(schedule, **rank, range)).count();
            let touched = ranks.iter().filter(|rank| {
                schedule.owned(**rank).iter().any(|own| own.start < range.end && range.start < own.end)
            });
            if owners != 1 || touched.count() != 1 {
                return Err(Violation::Owners { zone, range: range.clone() });
            }
        }
    }
    Ok(())
}

/// Groups that sum among themselves are apart and each inside a zone, and hold every element once.
fn check_nodes(schedule: &Schedule, ranges: &[Range<usize>]) -> Result<(), Violation> {
    let groups = |rank: &Rank| schedule.nodes.iter().filter(|node| node.ranks.contains(rank)).count();
    for node in &schedule.nodes {
        let zone = node.ranks.first().and_then(|rank| schedule.zone_of(*rank));
        let is_in_zone = |rank: &Rank| zone.is_some() && schedule.zone_of(*rank) == zone && groups(rank) == 1;
        if !node.ranks.iter().all(is_in_zone) {
            return Err(Violation::NodeGroup { ranks: node.ranks.clone() });
        }
        for range in ranges {
            let held = |whole: bool| {
                let fits = |held: &Range<usize>| match whole {
                    true => held.start <= range.start && range.end <= held.end,
                    false => held.start < range.end && range.start < held.end,
                };
                node.held.values().flatten().filter(|held| fits(held)).count()
            };
            if held(true) != 1 || held(false) != 1 || !node.held.keys().all(|rank| node.ranks.contains(rank))
            {
                return Err(Violation::Held { ranks: node.ranks.clone(), range: range.clone() });
            }
        }
    }
    Ok(())
}

fn owns(schedule: &Schedule, rank: Rank, range: &Range<usize>) -> bool {
    schedule.owned(rank).iter().any(|own| own.start <= range.start && range.end <= own.end)
}

/// A symbolic value: what was added to what.
#[derive(Debug, PartialEq, Eq)]
enum Term {
    Contribution(Rank),
    /// What the ranks of a node have summed up among themselves, in whatever order.
    OfNode(Vec<Rank>),
    /// What is left at a rank whose contribution lies in the sum that another holds: its own gradient still.
    Stale(Rank),
    Sum(Rc<Term>, Rc<Term>),
    /// Packed by a lossy codec and unpacked again.
    Rounded(Rc<Term>),
}

impl Term {
    fn contributions(&self) -> Vec<Rank> {
        match self {
            Term::Contribution(rank) => vec![*rank],
            Term::OfNode(ranks) => ranks.clone(),
            Term::Stale(rank) => vec![*rank],
            Term::Sum(left, right) => [left.contributions(), right.contributions()].concat(),
            Term::Rounded(term) => term.contributions(),
        }
    }

    /// How often each contribution was rounded; none if that differs among them.
    fn roundings(&self) -> Option<usize> {
        match self {
            Term::Contribution(_) | Term::OfNode(_) | Term::Stale(_) => Some(0),
            Term::Sum(left, right) => left.roundings().filter(|count| Some(*count) == right.roundings()),
            Term::Rounded(term) => Some(term.roundings()? + 1),
        }
    }

    /// The exact value.
    fn exact(&self) -> &Term {
        match self {
            Term::Rounded(term) => term.exact(),
            term => term,
        }
    }

    fn text(&self) -> String {
        match self {
            Term::Contribution(rank) => rank.0.to_string(),
            Term::OfNode(ranks) => format!("{ranks:?}"),
            Term::Stale(rank) => format!("what is left at {}", rank.0),
            Term::Sum(left, right) => format!("({} + {})", left.text(), right.text()),
            Term::Rounded(term) => format!("~{}", term.text()),
        }
    }
}

type Message = (Rank, Rank, Phase);

/// What a rank has when its program begins.
fn given(schedule: &Schedule, rank: Rank, range: &Range<usize>) -> Term {
    match schedule.node_group(rank) {
        _ if schedule.collective == Collective::Gather => Term::Contribution(rank),
        None => Term::Contribution(rank),
        Some(node) if node_holder(node, range) == Some(rank) => Term::OfNode(node.ranks.clone()),
        Some(_) => Term::Stale(rank),
    }
}

fn node_holder(node: &NodeGroup, range: &Range<usize>) -> Option<Rank> {
    let holds = |ranges: &Vec<Range<usize>>| {
        ranges.iter().any(|held| held.start <= range.start && range.end <= held.end)
    };
    node.held.iter().find(|(_, ranges)| holds(ranges)).map(|(rank, _)| *rank)
}

/// All ranks on one interval.
struct Run<'a> {
    schedule: &'a Schedule,
    range: Range<usize>,
    min_contributors: usize,
    actions: BTreeMap<Rank, &'a [Action]>,
    /// What each rank holds, and the level it was written as.
    held: BTreeMap<Rank, (Level, Rc<Term>)>,
    in_flight: BTreeMap<Message, (Codec, Rc<Term>)>,
    seen: Vec<Message>,
}

impl<'a> Run<'a> {
    fn new(schedule: &'a Schedule, range: Range<usize>, min_contributors: usize) -> Run<'a> {
        let actions_of = |(rank, program): (&Rank, &'a Arc<Program>)| {
            let interval = program.find(&range).map(|index| program.intervals[index].actions.as_slice());
            (*rank, interval.unwrap_or_default())
        };
        let actions = schedule.programs.iter().map(actions_of).collect();
        let own = |rank: &Rank| (*rank, (Level(0), Rc::new(given(schedule, *rank, &range))));
        Run {
            schedule,
            min_contributors,
            actions,
            held: schedule.programs.keys().map(own).collect(),
            range,
            in_flight: BTreeMap::new(),
            seen: Vec::new(),
        }
    }

    /// Runs every rank as far as it gets, until nobody gets any further.
    fn execute(&mut self) -> Result<(), Violation> {
        let ranks: Vec<Rank> = self.actions.keys().copied().collect();
        let mut progress = true;
        while progress {
            progress = false;
            for rank in &ranks {
                while let Some(action) = self.actions[rank].first() {
                    if !self.step(*rank, action)? {
                        break;
                    }
                    self.actions.entry(*rank).and_modify(|actions| *actions = &actions[1..]);
                    progress = true;
                }
            }
        }
        let range = || self.range.clone();
        for (rank, actions) in &self.actions {
            if let Some((from, phase)) = actions.first().and_then(|action| self.missing(*rank, action)) {
                return Err(Violation::Deadlock { rank: *rank, from, range: range(), phase });
            }
        }
        match self.in_flight.first_key_value() {
            Some(((rank, to, phase), _)) => {
                Err(Violation::Unreceived { rank: *rank, to: *to, range: range(), phase: *phase })
            }
            None => Ok(()),
        }
    }

    /// The first message that the action waits for.
    fn missing(&self, rank: Rank, action: &Action) -> Option<(Rank, Phase)> {
        let Action::Reduce { terms, .. } = action else { return None };
        terms.iter().find_map(|term| match term {
            Operand::From { rank: from, phase, .. }
                if !self.in_flight.contains_key(&(*from, rank, *phase)) =>
            {
                Some((*from, *phase))
            }
            _ => None,
        })
    }

    /// Whether the action could be done.
    fn step(&mut self, rank: Rank, action: &'a Action) -> Result<bool, Violation> {
        match action {
            Action::Send { to, level, phase, coverage, codec } => {
                let mut term = self.read(rank, *level)?;
                if codec.is_lossy() {
                    term = Rc::new(Term::Rounded(term));
                    self.held.insert(rank, (*level, term.clone()));
                }
                for to in to {
                    self.check_crossing(rank, *to, *coverage, &term)?;
                    let message = (rank, *to, *phase);
                    if self.seen.contains(&message) {
                        let (to, range, phase) = (*to, self.range.clone(), *phase);
                        return Err(Violation::Duplicate { rank, to, range, phase });
                    }
                    self.seen.push(message);
                    self.in_flight.insert(message, (*codec, term.clone()));
                }
            }
            Action::Reduce { terms, into } => {
                if self.missing(rank, action).is_some() {
                    return Ok(false);
                }
                let mut sum: Option<Rc<Term>> = None;
                for term in terms {
                    let value = match term {
                        Operand::Own(level) => self.read(rank, *level)?,
                        Operand::From { rank: from, phase, codec } => {
                            self.take(rank, *from, *phase, *codec)?
                        }
                    };
                    sum = Some(match sum {
                        None => value,
                        Some(sum) => Rc::new(Term::Sum(sum, value)),
                    });
                }
                if let Some(sum) = sum {
                    self.held.insert(rank, (*into, sum));
                }
            }
        }
        Ok(true)
    }

    fn read(&self, rank: Rank, level: Level) -> Result<Rc<Term>, Violation> {
        let (current, term) = &self.held[&rank];
        if *current != level {
            let (current, range) = (*current, self.range.clone());
            return Err(Violation::Overwritten { rank, level, current, range });
        }
        Ok(term.clone())
    }

    fn take(&mut self, rank: Rank, from: Rank, phase: Phase, expected: Codec) -> Result<Rc<Term>, Violation> {
        let range = self.range.clone();
        let (got, term) = self.in_flight.remove(&(from, rank, phase)).ok_or(Violation::Deadlock {
            rank,
            from,
            range: range.clone(),
            phase,
        })?;
        if got != expected {
            return Err(Violation::OtherCodec { rank, from, range, expected, got });
        }
        Ok(term)
    }

    /// Invariant 4: what crosses a border is a sum over all of the sender's zone, of enough workers.
    fn check_crossing(&self, rank: Rank, to: Rank, coverage: Coverage, term: &Term) -> Result<(), Violation> {
        let zones = (self.schedule.zone_of(rank), self.schedule.zone_of(to));
        let (Some(zone), crosses) = (zones.0, zones.0 != zones.1) else { return Ok(()) };
        if self.schedule.collective == Collective::Gather {
            let crossing = Violation::GatherCrosses { rank, to, range: self.range.clone() };
            return if crosses { Err(crossing) } else { Ok(()) };
        }
        let workers = &self.schedule.zones[zone];
        let contributions = term.contributions();
        let complete = workers.iter().all(|worker| contributions.contains(worker));
        if coverage == Coverage::Complete && !complete {
            return Err(Violation::FalseMark { rank, got: term.text() });
        }
        if !crosses {
            return Ok(());
        }
        if !complete || coverage == Coverage::Partial || contributions.len() != workers.len() {
            return Err(Violation::LoneGradient { rank, to, got: term.text() });
        }
        if workers.len() < self.min_contributors {
            return Err(Violation::TooFewContributors {
                zone,
                got: workers.len(),
                needed: self.min_contributors,
            });
        }
        Ok(())
    }

    /// Who holds a node's part gives it to the others of the node.
    fn hand_out(&mut self) {
        if self.schedule.collective == Collective::ReduceScatter {
            return;
        }
        for node in &self.schedule.nodes {
            let holder = node_holder(node, &self.range);
            let Some(result) = holder.and_then(|holder| self.held.get(&holder)).cloned() else { continue };
            self.held.extend(node.ranks.iter().map(|rank| (*rank, result.clone())));
        }
    }

    fn check_results(&self) -> Result<(), Violation> {
        let mut first: Option<(Rank, &Rc<Term>)> = None;
        for ranks in &self.schedule.zones {
            let owner = ranks.iter().copied().find(|rank| owns(self.schedule, *rank, &self.range));
            for rank in ranks.iter().copied() {
                if self.schedule.collective == Collective::ReduceScatter && Some(rank) != owner {
                    continue;
                }
                let (level, term) = &self.held[&rank];
                if *level != self.schedule.result_level {
                    return Err(Violation::NoResult { rank, range: self.range.clone() });
                }
                if !self.is_promised(term, owner) {
                    return Err(Violation::WrongSum { rank, range: self.range.clone(), got: term.text() });
                }
                if term.roundings().is_none() {
                    let (range, got) = (self.range.clone(), term.text());
                    return Err(Violation::UnevenRounding { rank, range, got });
                }
                if self.schedule.collective == Collective::Gather {
                    continue;
                }
                let (other, same) = *first.get_or_insert((rank, term));
                if same != term {
                    return Err(Violation::Disagreement { rank, other, range: self.range.clone() });
                }
            }
        }
        Ok(())
    }

    fn is_promised(&self, term: &Term, owner: Option<Rank>) -> bool {
        match (self.schedule.collective, &self.schedule.tree) {
            (Collective::Gather, _) => owner.is_some_and(|owner| *term.exact() == Term::Contribution(owner)),
            (_, Tree::Group(zones)) if self.schedule.zones.len() > 1 => self.is_sum(term, zones.iter()),
            (_, tree) => self.is_owned_sum(term, tree),
        }
    }

    /// A zone's or node's sum: from the child after the owner's round to the owner's child.
    fn is_owned_sum(&self, term: &Term, tree: &Tree) -> bool {
        match tree {
            Tree::Rank(rank) => *term.exact() == given(self.schedule, *rank, &self.range),
            Tree::Group(children) => {
                // A node's sum stands where the rank does that holds it.
                let speaks = |child: &&Tree| match child {
                    Tree::Rank(rank) => !matches!(given(self.schedule, *rank, &self.range), Term::Stale(_)),
                    Tree::Group(_) => true,
                };
                let children: Vec<&Tree> = children.iter().filter(speaks).collect();
                let owner =
                    self.schedule.ranks().find(|r| tree.contains(*r) && owns(self.schedule, *r, &self.range));
                let index =
                    children.iter().position(|child| owner.is_some_and(|owner| child.contains(owner)));
                let split = index.map_or(0, |index| index + 1);
                self.is_sum(term, children[split..].iter().chain(&children[..split]).copied())
            }
        }
    }

    /// Whether the term adds the groups' sums one after the other, in this order.
    fn is_sum<'t>(&self, term: &Term, groups: impl DoubleEndedIterator<Item = &'t Tree>) -> bool {
        let mut groups: Vec<&Tree> = groups.collect();
        let mut term = term;
        while groups.len() > 1 {
            let Term::Sum(left, right) = term.exact() else { return false };
            let Some(last) = groups.pop() else { return false };
            if !self.is_owned_sum(right, last) {
                return false;
            }
            term = left;
        }
        groups.first().is_some_and(|group| self.is_owned_sum(term, group))
    }
}
