//! One collective among several workers: `Round` machines over simulated links.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use hcrun_protocol::buffers::Buffers;
use hcrun_protocol::prng::hash_bytes;
use hcrun_protocol::round::{Cause, Input, Output, Round, RoundId};
use hcrun_protocol::schedule::{Phase, Program};
use hcrun_protocol::{Rank, Span, Time};

use crate::memory::Memory;
use crate::world::{Node, Outbox};

/// A segment on the wire.
#[derive(Clone)]
pub struct Segment {
    range: Range<usize>,
    phase: Phase,
    payload: Vec<u8>,
}

impl fmt::Debug for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hash = hash_bytes(&self.payload);
        write!(f, "Segment {:?} {} {hash:016x}", self.range, self.phase)
    }
}

/// How a worker's round ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    Done { at: Time },
    Failed { at: Time, peer: Option<Rank>, cause: Cause },
}

/// One rank. Its index in the world is its rank.
pub struct Worker {
    program: Arc<Program>,
    id: RoundId,
    deadline: Span,
    memory: Memory,
    /// When which part of backward has finished, in order of time.
    backward: VecDeque<(Time, Range<usize>)>,
    round: Option<Round>,
    staged: BTreeMap<(Rank, usize, Phase), Vec<u8>>,
    /// Arrived before the round was started here.
    early: Vec<(Rank, Range<usize>, Phase)>,
    pub end: Option<End>,
}

impl Worker {
    pub fn new(
        program: Arc<Program>,
        id: RoundId,
        deadline: Span,
        own: Vec<f32>,
        backward: VecDeque<(Time, Range<usize>)>,
    ) -> Worker {
        let memory = Memory::new(own);
        let (staged, early) = (BTreeMap::new(), Vec::new());
        Worker { program, id, deadline, memory, backward, round: None, staged, early, end: None }
    }

    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    fn feed(&mut self, now: Time, input: Input, out: &mut Outbox<Segment>) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let Some(round) = &mut self.round else { return };
            round.handle(now, input);
            self.drain(now, &mut inputs, out);
        }
    }

    fn drain(&mut self, now: Time, inputs: &mut VecDeque<Input>, out: &mut Outbox<Segment>) {
        while let Some(output) = self.round.as_mut().and_then(Round::poll_output) {
            match output {
                Output::Send { to, level, range, phase, .. } => {
                    let mut payload = Vec::new();
                    self.memory.encode(level, range.clone(), &mut payload);
                    out.send(to.index(), Segment { range: range.clone(), phase, payload });
                    inputs.push_back(Input::Sent { range });
                }
                Output::Reduce { from, range, phase, into, write } => {
                    let payload = self.staged.remove(&(from, range.start, phase));
                    let payload = payload.expect("a segment is staged before it is announced");
                    let fits = self.memory.receive(into, range.clone(), write, &payload);
                    fits.expect("both sides have the same schedule");
                    inputs.push_back(Input::Reduced { range });
                }
                Output::Combine { from, into, range, write } => {
                    self.memory.combine(from, into, range.clone(), write);
                    inputs.push_back(Input::Reduced { range });
                }
                Output::Done => self.end = Some(End::Done { at: now }),
                Output::Failed { peer, cause, .. } => self.end = Some(End::Failed { at: now, peer, cause }),
            }
        }
    }
}

impl Node for Worker {
    type Message = Segment;

    fn start(&mut self, now: Time, out: &mut Outbox<Segment>) {
        self.round = Some(Round::new(now, Arc::clone(&self.program), self.id, self.deadline));
        self.feed(now, Input::Tick, out);
        for (from, range, phase) in std::mem::take(&mut self.early) {
            self.feed(now, Input::Arrived { from, range, phase }, out);
        }
    }

    fn on_message(&mut self, now: Time, from: usize, segment: Segment, out: &mut Outbox<Segment>) {
        let Segment { range, phase, payload } = segment;
        let from = Rank::from_index(from);
        self.staged.insert((from, range.start, phase), payload);
        match self.round {
            Some(_) => self.feed(now, Input::Arrived { from, range, phase }, out),
            None => self.early.push((from, range, phase)),
        }
    }

    fn on_lost(&mut self, now: Time, peer: usize, out: &mut Outbox<Segment>) {
        let reason = "link lost".to_owned();
        self.feed(now, Input::Abort { peer: Some(Rank::from_index(peer)), reason }, out);
    }

    fn on_tick(&mut self, now: Time, out: &mut Outbox<Segment>) {
        while self.backward.front().is_some_and(|(at, _)| *at <= now) {
            if let Some((_, range)) = self.backward.pop_front() {
                self.feed(now, Input::Ready { range }, out);
            }
        }
        self.feed(now, Input::Tick, out);
    }

    fn next_deadline(&self) -> Option<Time> {
        let round = self.round.as_ref().filter(|round| !round.has_ended())?;
        let backward = self.backward.front().map(|(at, _)| *at);
        round.next_deadline().into_iter().chain(backward).min()
    }
}
