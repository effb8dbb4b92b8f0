//! `Round`: one collective on one rank, as a machine.
//!
//! It walks the rank's [`Program`]: every interval is a list of actions done strictly in order, and intervals
//! progress independently of each other, so a segment travels on as soon as it is reduced. The machine knows
//! neither bytes nor links. Its driver holds the payloads of [`Input::Arrived`] segments until an
//! [`Output::Reduce`] takes them; how much that can be at most, [`Program::receives`] says.
//!
//! Each `Send` and `Reduce` is answered by exactly one [`Input::Sent`] or [`Input::Reduced`] when the memory it
//! names may be used again; only then does the interval go on. After [`Output::Done`] or
//! [`Output::Failed`] the round has ended and ignores all input.

use std::collections::{BTreeSet, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::dtype::Codec;
use crate::ids::{Generation, Rank, Step};
use crate::schedule::{Action, Coverage, Interval, Level, Phase, Program, Term};
use crate::time::{Span, Time};

/// Names a round on all ranks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RoundId {
    pub generation: Generation,
    /// Counts repetitions of a step within a generation.
    pub attempt: u16,
    pub step: Step,
    /// Unique within a step.
    pub tag: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Input {
    /// This part of level 0 is final. Any cut, each element once.
    Ready { range: Range<usize> },
    /// A segment has come and its payload is staged.
    Arrived { from: Rank, range: Range<usize>, phase: Phase },
    /// The segment of an [`Output::Send`] has been packed for all its receivers.
    Sent { range: Range<usize> },
    /// The [`Output::Reduce`] on this range has been done.
    Reduced { range: Range<usize> },
    /// A link is lost or somebody gave up.
    Abort { peer: Option<Rank>, reason: String },
    /// Time has passed.
    Tick,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Output {
    /// Pack the range of `level` once and send it to each of `to`.
    Send { to: Vec<Rank>, level: Level, range: Range<usize>, phase: Phase, coverage: Coverage, codec: Codec },
    /// Combine the terms in their order into `into`; the payloads are staged. `total` says that all
    /// contributions are in it.
    Reduce { range: Range<usize>, terms: Vec<Term>, into: Level, total: bool },
    /// The result level is final here.
    Done,
    /// The round has ended without a result; `peer` is who it waited for or who broke the rules.
    Failed { peer: Option<Rank>, step: Step, cause: Cause },
}

/// Why a round failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    #[error("no segment {range:?} from {from} within {deadline}")]
    Awaited { from: Rank, range: Range<usize>, deadline: Span },
    #[error("this worker did not finish its own part of the round within {deadline}")]
    OwnPart { deadline: Span },
    #[error("{from} sent segment {range:?} ({phase}) twice")]
    Duplicate { from: Rank, range: Range<usize>, phase: Phase },
    #[error("{from} sent segment {range:?} ({phase}), which is not in the schedule")]
    Unexpected { from: Rank, range: Range<usize>, phase: Phase },
    #[error("{reason}")]
    Aborted { reason: String },
}

/// How far an interval has come.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Progress {
    /// Elements of the interval that are not ready yet.
    unready: usize,
    /// The next action.
    next: usize,
    /// An output is out and not answered.
    busy: bool,
    /// Segments that came, also those already taken.
    arrived: BTreeSet<(Rank, Phase)>,
}

impl Progress {
    /// Whose segments the next action lacks, in its order.
    fn awaited<'a>(&'a self, interval: &'a Interval) -> impl Iterator<Item = Rank> + 'a {
        let terms = match interval.actions.get(self.next) {
            Some(Action::Reduce { terms, .. }) => terms.as_slice(),
            _ => &[],
        };
        terms.iter().filter_map(|term| match term {
            Term::From { rank, phase, .. } if !self.arrived.contains(&(*rank, *phase)) => Some(*rank),
            _ => None,
        })
    }
}

#[derive(Debug, Clone)]
pub struct Round {
    id: RoundId,
    program: Arc<Program>,
    progress: Vec<Progress>,
    unfinished: usize,
    started: Time,
    deadline: Span,
    outputs: VecDeque<Output>,
    ended: bool,
}

impl Round {
    /// Starts at `now`; it fails when it has not ended `deadline` later.
    pub fn new(now: Time, program: Arc<Program>, id: RoundId, deadline: Span) -> Round {
        let unready = |interval: &Interval| Progress { unready: interval.range.len(), ..Progress::default() };
        let progress: Vec<Progress> = program.intervals.iter().map(unready).collect();
        let unfinished = progress.len();
        let mut round = Round {
            id,
            program,
            progress,
            unfinished,
            started: now,
            deadline,
            outputs: VecDeque::new(),
            ended: false,
        };
        round.end_if_finished();
        round
    }

    pub fn id(&self) -> RoundId {
        self.id
    }

    /// Feeds one input. Drain [`Self::poll_output`] before feeding the next.
    pub fn handle(&mut self, now: Time, input: Input) {
        if self.ended {
            return;
        }
        match input {
            Input::Ready { range } => self.on_ready(&range),
            Input::Arrived { from, range, phase } => self.on_arrived(from, range, phase),
            Input::Sent { range } | Input::Reduced { range } => self.on_answer(&range),
            Input::Abort { peer, reason } => self.fail(peer, Cause::Aborted { reason }),
            Input::Tick => {}
        }
        if !self.ended && now.since(self.started) >= self.deadline {
            self.on_deadline();
        }
    }

    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to feed [`Input::Tick`] even if nothing else happens.
    pub fn next_deadline(&self) -> Option<Time> {
        (!self.ended).then(|| self.started + self.deadline)
    }

    /// Whose segments the interval that begins at `start` waits for; none while its own `Send` or `Reduce` is
    /// out.
    pub fn awaited(&self, start: usize) -> Option<Vec<Rank>> {
        let intervals = &self.program.intervals;
        let index = intervals.partition_point(|interval| interval.range.start < start);
        let (interval, progress) = (intervals.get(index)?, self.progress.get(index)?);
        (!progress.busy).then(|| progress.awaited(interval).collect())
    }

    pub fn has_ended(&self) -> bool {
        self.ended
    }

    fn on_ready(&mut self, ready: &Range<usize>) {
        let intervals = &self.program.intervals;
        let first = intervals.partition_point(|interval| interval.range.end <= ready.start);
        let last = intervals.partition_point(|interval| interval.range.start < ready.end);
        for index in first..last {
            let range = &self.program.intervals[index].range;
            let overlap = range.end.min(ready.end).saturating_sub(range.start.max(ready.start));
            self.progress[index].unready = self.progress[index].unready.saturating_sub(overlap);
            self.advance(index);
        }
    }

    fn on_arrived(&mut self, from: Rank, range: Range<usize>, phase: Phase) {
        let expected = |term: &Term| matches!(term, Term::From { rank, phase: its, .. } if *rank == from && *its == phase);
        let found = self.program.find(&range);
        let known = found.filter(|index| self.program.intervals[*index].terms().any(expected));
        let Some(index) = known else {
            return self.fail(Some(from), Cause::Unexpected { from, range, phase });
        };
        if !self.progress[index].arrived.insert((from, phase)) {
            return self.fail(Some(from), Cause::Duplicate { from, range, phase });
        }
        self.advance(index);
    }

    fn on_answer(&mut self, range: &Range<usize>) {
        let Some(index) = self.program.find(range).filter(|index| self.progress[*index].busy) else {
            debug_assert!(false, "answer for {range:?}, where nothing is out");
            return;
        };
        self.progress[index].busy = false;
        self.progress[index].next += 1;
        if self.progress[index].next == self.program.intervals[index].actions.len() {
            self.unfinished -= 1;
            return self.end_if_finished();
        }
        self.advance(index);
    }

    /// Puts the interval's next action out, if it can be done now.
    fn advance(&mut self, index: usize) {
        let interval = &self.program.intervals[index];
        let progress = &mut self.progress[index];
        if progress.busy || progress.unready > 0 || progress.awaited(interval).next().is_some() {
            return;
        }
        let range = interval.range.clone();
        let Some(action) = interval.actions.get(progress.next) else { return };
        let output = match action.clone() {
            Action::Send { to, level, phase, coverage, codec } => {
                Output::Send { to, level, range, phase, coverage, codec }
            }
            Action::Reduce { terms, into } => Output::Reduce {
                range,
                terms,
                into,
                total: self.program.forms_total(interval, progress.next),
            },
        };
        progress.busy = true;
        self.outputs.push_back(output);
    }

    fn end_if_finished(&mut self) {
        if self.unfinished == 0 {
            self.ended = true;
            self.outputs.push_back(Output::Done);
        }
    }

    /// Names whom nothing at all came from, if there is one: who sent something may itself wait for that rank.
    fn on_deadline(&mut self) {
        let deadline = self.deadline;
        let arrived = self.progress.iter().flat_map(|progress| &progress.arrived);
        let heard: BTreeSet<Rank> = arrived.map(|(rank, _)| *rank).collect();
        let pairs = self.program.intervals.iter().zip(&self.progress);
        let ready = pairs.filter(|(_, progress)| progress.unready == 0);
        let awaited = ready.flat_map(|(interval, progress)| {
            let cause = |from| (from, Cause::Awaited { from, range: interval.range.clone(), deadline });
            progress.awaited(interval).map(cause)
        });
        match awaited.min_by_key(|(from, _)| heard.contains(from)) {
            Some((from, cause)) => self.fail(Some(from), cause),
            None => self.fail(None, Cause::OwnPart { deadline }),
        }
    }

    fn fail(&mut self, peer: Option<Rank>, cause: Cause) {
        self.ended = true;
        // What is still queued would touch memory that the driver now takes back.
        self.outputs.clear();
        self.outputs.push_back(Output::Failed { peer, step: self.id.step, cause });
    }
}

#[cfg(test)]
mod tests;
