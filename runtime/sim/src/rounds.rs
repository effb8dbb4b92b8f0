//! One collective among several workers: `Round` machines over simulated links.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use hcrun_protocol::buffers::{Buffers, Operand};
use hcrun_protocol::dtype::Packing;
use hcrun_protocol::prng::hash_bytes;
use hcrun_protocol::round::{Cause, Input, Output, Round, RoundId};
use hcrun_protocol::schedule::{Level, Phase, Program, Term};
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
                Output::Send { to, level, range, phase, codec, .. } => {
                    let mut payload = Vec::new();
                    let packing = Packing { codec, phase, source: self.program.rank };
                    self.memory
                        .encode(level, range.clone(), packing, &mut payload)
                        .expect("memory of the host");
                    for to in to {
                        let segment = Segment { range: range.clone(), phase, payload: payload.clone() };
                        out.send(to.index(), segment);
                    }
                    inputs.push_back(Input::Sent { range });
                }
                Output::Reduce { range, terms, into, .. } => {
                    self.reduce(&range, &terms, into);
                    inputs.push_back(Input::Reduced { range });
                }
                Output::Done => self.end = Some(End::Done { at: now }),
                Output::Failed { peer, cause, .. } => self.end = Some(End::Failed { at: now, peer, cause }),
            }
        }
    }
}

impl Worker {
    fn reduce(&mut self, range: &Range<usize>, terms: &[Term], into: Level) {
        let take = |term: &Term| match term {
            Term::Own(_) => None,
            Term::From { rank, phase, .. } => {
                let payload = self.staged.remove(&(*rank, range.start, *phase));
                Some(payload.expect("a segment is staged before it is announced"))
            }
        };
        let payloads: Vec<Option<Vec<u8>>> = terms.iter().map(take).collect();
        let pieces: Vec<[&[u8]; 1]> = payloads.iter().map(|p| [p.as_deref().unwrap_or_default()]).collect();
        let operand = |(term, pieces): (&Term, _)| match *term {
            Term::Own(level) => Operand::Own(level),
            Term::From { codec, .. } => Operand::Received { codec, pieces },
        };
        let operands: Vec<Operand<'_>> =
            terms.iter().zip(pieces.iter().map(<[_; 1]>::as_slice)).map(operand).collect();
        let fits = self.memory.reduce(into, range.clone(), &operands, None);
        fits.expect("both sides have the same schedule");
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
