//! The shell around rounds: feeds each [`Round`] what arrives and does what it says.
//!
//! Nothing is packed before a lane has room for it: sends wait by peer as names of ranges, the oldest round
//! first, and whichever lane to the peer has room takes the next one. So lanes of different speed all stay
//! busy, and what lies packed is a few segments a lane; of lossy codecs also what slower peers have not taken yet,
//! up to a bound.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use hcrun_protocol::buffers::{BufferError, Buffers, Operand};
use hcrun_protocol::dtype::ReduceOp;
use hcrun_protocol::round::{Cause, Input, Output, Round, RoundId};
use hcrun_protocol::schedule::{Coverage, Level, Phase, Term};
use hcrun_protocol::{Rank, Step, Time, ZoneId};
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};

use super::counters::Counters;
use super::early::Early;
use super::lane;
use super::link::{Arrival, Event, Inbox, Notice, Port};
use super::outbox::{Job, Outbox};
use super::over::Over;
use super::payload::Payload;
use super::{FormSpec, Member, RoundClasses, RoundError, RoundSpec, SegmentFault};
use crate::loss::{self, CloseCode, LinkLoss};

pub(super) enum Command<B> {
    Submit { spec: RoundSpec<B>, reply: SyncSender<Result<B, RoundError>> },
    Close,
}

/// What the shell listens to.
pub(super) struct Channels<B> {
    pub(super) inbox: Inbox,
    pub(super) orders: mpsc::UnboundedReceiver<Command<B>>,
    pub(super) causes: watch::Receiver<Option<String>>,
}

/// All state of a group; owned by the thread of lane 0.
pub(super) struct Shell<B> {
    pub(super) spec: FormSpec,
    pub(super) outbox: Outbox,
    pub(super) counters: Arc<Counters>,
    /// How long a close waits for peers that take nothing of what is sent to them.
    silence: Duration,
    started: Instant,
    pub(super) active: BTreeMap<RoundId, Active<B>>,
    pub(super) early: Early,
    over: Over,
    submitted: u64,
    /// The latest attempt that was submitted here; frames of earlier ones are dropped.
    attempt: u16,
    /// Reductions that machines have asked for, in the order they came.
    todo: VecDeque<(RoundId, Output)>,
    /// The first failure: nothing succeeds after it.
    failure: Option<RoundError>,
}

/// A round that runs.
pub(super) struct Active<B> {
    pub(super) round: Round,
    /// How many rounds were submitted before it.
    pub(super) age: u64,
    schedule: u32,
    classes: RoundClasses,
    pub(super) buffers: B,
    reply: SyncSender<Result<B, RoundError>>,
    ranks: usize,
    program: Arc<hcrun_protocol::schedule::Program>,
    /// Payloads until the machine takes them. It refuses what is not in the program, which bounds them.
    pub(super) staged: BTreeMap<(Rank, usize, Phase), Staged>,
    /// How many segments each peer still owes.
    pub(super) owed: BTreeMap<Rank, usize>,
}

/// A payload that waits for its turn.
pub(super) struct Staged {
    payload: Payload,
    pub(super) lane: usize,
    /// None once its peer was let go on regardless.
    pub(super) permit: Option<OwnedSemaphorePermit>,
}

/// Bytes moved or added between two looks at the network: less than a millisecond.
const WORK_SLICE_BYTES: usize = 512 << 10;
/// What peers are told by a rank that closes in the middle of a round.
const LEFT_EARLY: &str = "it closed its group before its rounds had ended";
/// When no round has a deadline.
const IDLE_TICK: Duration = Duration::from_secs(60);

impl<B: Buffers> Shell<B> {
    pub(super) fn new(
        spec: FormSpec,
        silence: Duration,
        ports: Vec<Port>,
        counters: Arc<Counters>,
    ) -> Shell<B> {
        Shell {
            outbox: Outbox::new(&spec, ports),
            counters,
            silence,
            started: Instant::now(),
            active: BTreeMap::new(),
            early: Early::default(),
            over: Over::default(),
            submitted: 0,
            attempt: 0,
            todo: VecDeque::new(),
            failure: None,
            spec,
        }
    }

    pub(super) fn zone(&self) -> &ZoneId {
        &self.spec.members[self.spec.me.index()].zone
    }

    fn now(&self) -> Time {
        Time(u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    /// Runs until the group is closed.
    pub(super) async fn run(mut self, channels: Channels<B>) {
        let Channels { mut inbox, mut orders, mut causes } = channels;
        let mut worked = 0;
        loop {
            // Lanes with room come first: while they send, the rest of the work is done.
            while let Ok(notice) = inbox.notices.try_recv() {
                worked += self.on_notice(notice);
            }
            if let Some((id, output)) = self.todo.pop_front() {
                worked += self.act(id, output);
                // What arrived does not wait until everything that was asked for is done.
                while let Ok(event) = inbox.events.try_recv() {
                    worked += self.on_event(event);
                }
                if worked >= WORK_SLICE_BYTES {
                    worked = 0;
                    if self.failure.is_none() && causes.borrow().is_some() {
                        let reason = lane::cause(&mut causes).await;
                        self.fail(RoundError::Aborted { step: self.step(), reason });
                    }
                    self.on_tick();
                    tokio::task::yield_now().await;
                }
                continue;
            }
            self.let_go_on();
            let wake = self.next_wake();
            tokio::select! {
                Some(notice) = inbox.notices.recv() => worked += self.on_notice(notice),
                Some(event) = inbox.events.recv() => worked += self.on_event(event),
                command = orders.recv() => match command {
                    Some(Command::Submit { spec, reply }) => self.on_submit(spec, reply),
                    Some(Command::Close) | None => break,
                },
                reason = lane::cause(&mut causes), if self.failure.is_none() => {
                    self.fail(RoundError::Aborted { step: self.step(), reason });
                }
                () = tokio::time::sleep_until(wake.into()) => self.on_tick(),
            }
        }
        self.close(inbox).await;
    }

    fn next_wake(&self) -> Instant {
        let deadline = self.active.values().filter_map(|active| active.round.next_deadline()).min();
        match deadline {
            Some(Time(micros)) => self.started + Duration::from_micros(micros),
            None => Instant::now() + IDLE_TICK,
        }
    }

    fn on_submit(&mut self, spec: RoundSpec<B>, reply: SyncSender<Result<B, RoundError>>) {
        let id = spec.id;
        if let Some(refusal) = self.refusal(&spec) {
            // Whoever dropped the handle does not want to know.
            drop(reply.send(Err(refusal)));
            return;
        }
        if id.attempt > self.attempt {
            self.attempt = id.attempt;
            self.early.forget_before(id.attempt);
        }
        let mut owed = BTreeMap::new();
        for (from, _) in spec.program.receives() {
            *owed.entry(from).or_default() += 1;
        }
        let ready = 0..spec.program.elems;
        let active = Active {
            age: self.submitted,
            schedule: spec.program.digest,
            classes: spec.classes,
            buffers: spec.buffers,
            reply,
            ranks: spec.program.ranks,
            program: spec.program.clone(),
            round: Round::new(self.now(), spec.program, id, spec.deadline),
            staged: BTreeMap::new(),
            owed,
        };
        self.submitted += 1;
        self.active.insert(id, active);
        self.feed(id, Input::Ready { range: ready });
        for (from, arrival) in self.early.take(id) {
            self.deliver(from, id, arrival);
        }
        self.outbox.left().into_iter().for_each(|peer| self.check_debts_of(peer));
    }

    /// Why a round is not begun. Only an earlier failure concerns the other rounds.
    fn refusal(&self, spec: &RoundSpec<B>) -> Option<RoundError> {
        let (id, buffers) = (spec.id, &spec.buffers);
        let intervals = &spec.program.intervals;
        let longest = intervals.iter().map(|interval| interval.range.len()).max().unwrap_or(0);
        let (got, limit) = (longest.saturating_mul(buffers.dtype().bytes()), self.spec.segment_bytes);
        if let Some(failure) = &self.failure {
            Some(failure.at(id.step))
        } else if id.generation != self.spec.generation {
            Some(RoundError::Generation { id, group: self.spec.generation })
        } else if self.active.contains_key(&id) || self.over.contains(id) {
            Some(RoundError::Twice(id))
        } else if spec.program.elems != buffers.elems() {
            Some(RoundError::Elems { id, program: spec.program.elems, buffers: buffers.elems() })
        } else if got > limit {
            Some(RoundError::SegmentTooLong { id, got, limit })
        } else if !buffers.op().takes(buffers.dtype()) {
            Some(RoundError::Operation { id, op: buffers.op(), dtype: buffers.dtype() })
        } else {
            None
        }
    }

    /// As all of these: returns the bytes that were moved or added.
    fn on_notice(&mut self, notice: Notice) -> usize {
        match notice {
            _ if self.failure.is_some() => 0,
            Notice::Room { peer, lane } => {
                self.outbox.on_room(peer, lane);
                self.pump(peer)
            }
            // What it was handed did not go out: even a peer that says it is done has left too early.
            Notice::Ended { peer, result: Err(loss) } => {
                self.on_gone(peer, self.step(), loss);
                0
            }
            Notice::Ended { result: Ok(()), .. } => 0,
        }
    }

    fn on_event(&mut self, event: Event) -> usize {
        match event {
            _ if self.failure.is_some() => 0,
            Event::Arrived { from, arrival } => self.on_arrived(from, arrival),
            Event::HeldUp { peer, lane, grains } => {
                self.outbox.set_asked(peer, lane, grains);
                0
            }
            Event::Lost { peer, loss } => {
                self.on_lost(peer, loss);
                0
            }
            Event::Fault { peer, fault } => {
                self.on_fault(peer, Step(0), fault);
                0
            }
        }
    }

    fn on_arrived(&mut self, from: Rank, arrival: Arrival) -> usize {
        self.outbox.set_asked(from, arrival.lane, 0);
        let header = &arrival.header;
        let id = RoundId {
            generation: header.generation,
            attempt: header.attempt,
            step: header.step,
            tag: header.round,
        };
        if header.attempt < self.attempt {
            self.counters.on_outdated();
        } else if self.active.contains_key(&id) {
            self.deliver(from, id, arrival);
        } else if self.over.contains(id) {
            self.on_fault(from, id.step, SegmentFault::RoundOver(id));
        } else {
            self.early.keep(id, from, arrival);
        }
        0
    }

    /// Hands a segment to its round.
    fn deliver(&mut self, from: Rank, id: RoundId, arrival: Arrival) {
        let Some(active) = self.active.get_mut(&id) else { return };
        let Arrival { header, payload, lane, permit } = arrival;
        // A header whose range is no range was refused when it was decoded.
        let (None, Some(range)) = (active.fault(from, &header), header.range()) else {
            let fault = active.fault(from, &header);
            return fault.into_iter().for_each(|fault| self.on_fault(from, id.step, fault));
        };
        if let Some(owed) = active.owed.get_mut(&from) {
            *owed = owed.saturating_sub(1);
        }
        self.counters.on_staged(payload.len());
        let staged = Staged { payload, lane, permit };
        active.staged.insert((from, range.start, header.phase), staged);
        self.feed(id, Input::Arrived { from, range, phase: header.phase });
    }

    pub(super) fn feed(&mut self, id: RoundId, input: Input) {
        let now = self.now();
        let Some(active) = self.active.get_mut(&id) else { return };
        active.round.handle(now, input);
        while let Some(output) = active.round.poll_output() {
            self.todo.push_back((id, output));
        }
    }

    fn on_tick(&mut self) {
        let ids: Vec<RoundId> = self.active.keys().copied().collect();
        ids.into_iter().for_each(|id| self.feed(id, Input::Tick));
    }

    /// Does what a machine asked for; returns the bytes that it took.
    fn act(&mut self, id: RoundId, output: Output) -> usize {
        let Some(active) = self.active.get_mut(&id) else { return 0 };
        match output {
            Output::Send { to, level, range, phase, coverage, codec } => {
                let (age, waiting) = (active.age, to.len());
                let job = Job { id, level, range, phase, coverage, codec, waiting, packed: None };
                if to.is_empty() {
                    return self.settle(job);
                }
                self.outbox.queue(age, job, &to);
                to.into_iter().map(|peer| self.pump(peer)).sum()
            }
            Output::Reduce { range, terms, into, total } => {
                let bytes = range.len() * terms.len() * active.buffers.dtype().bytes();
                let payloads = active.take_staged(&range, &terms);
                self.counters.on_unstaged(payloads.iter().map(Payload::len).sum());
                match active.reduce(range.clone(), &terms, &payloads, into, total) {
                    Ok(()) => self.feed(id, Input::Reduced { range }),
                    Err((_, source @ BufferError::Memory { .. })) => {
                        self.fail(RoundError::Memory { step: id.step, source });
                    }
                    Err((from, fault)) => self.on_fault(from, id.step, SegmentFault::Payload(fault)),
                }
                bytes
            }
            Output::Done => {
                if let Some(active) = self.active.remove(&id) {
                    drop(active.reply.send(Ok(active.buffers)));
                }
                self.over.insert(id);
                0
            }
            Output::Failed { peer, step, cause } => {
                self.on_round_failed(peer, step, cause);
                0
            }
        }
    }

    fn on_round_failed(&mut self, peer: Option<Rank>, step: Step, cause: Cause) {
        match (peer, cause) {
            (Some(peer), cause @ (Cause::Duplicate { .. } | Cause::Unexpected { .. })) => {
                self.on_fault(peer, step, SegmentFault::Schedule(cause));
            }
            (Some(rank), source) => {
                let peer = Box::new(self.member(rank).peer());
                self.fail(RoundError::PeerLate { peer, rank, step, source });
            }
            (None, source) => self.fail(RoundError::Round { step, source }),
        }
    }

    /// A lane to a peer has ended. A peer that is done may leave: when all its lanes have ended, all that it
    /// sends has arrived.
    fn on_lost(&mut self, peer: Rank, loss: LinkLoss) {
        let done = matches!(&loss, LinkLoss::ClosedByPeer { code: CloseCode::Done, .. });
        if done && self.outbox.on_done(peer, &loss) {
            self.check_debts_of(peer);
        } else if !done {
            self.on_gone(peer, self.step(), loss);
        }
    }

    /// Fails if a running round still waits for a peer that has left, or has something to send to it.
    fn check_debts_of(&mut self, peer: Rank) {
        let owes = |active: &Active<B>| active.owed.get(&peer).is_some_and(|owed| *owed > 0);
        let owing = self.active.iter().find(|(_, active)| owes(active)).map(|(id, _)| id.step);
        let step = owing.or_else(|| self.outbox.waits_for(peer));
        if let (Some(step), Some(loss)) = (step, self.outbox.loss_of(peer)) {
            self.on_gone(peer, step, loss);
        }
    }

    pub(super) fn on_gone(&mut self, rank: Rank, step: Step, source: LinkLoss) {
        let peer = self.member(rank).peer();
        self.fail(match source {
            LinkLoss::ClosedByPeer { code: CloseCode::Aborted, reason } => {
                let gave_up = RoundError::gave_up(peer, rank, self.spec.members.len(), step, &reason);
                self.blamed_elsewhere(gave_up)
            }
            source => RoundError::PeerLost { peer: Box::new(peer), rank, step, source },
        });
    }

    /// A peer that blames this rank may have waited for it while it waited for another itself: in a ring each
    /// knows its neighbour alone.
    fn blamed_elsewhere(&self, mut error: RoundError) -> RoundError {
        if let RoundError::GaveUp { rank, blamed, .. } = &mut error
            && *blamed == Some(self.spec.me)
        {
            let owed = self.active.values().flat_map(|active| &active.owed);
            let silent = owed.filter(|(peer, owed)| **owed > 0 && *peer != rank).map(|(peer, _)| *peer);
            *blamed = silent.min().or(*blamed);
        }
        error
    }

    fn on_fault(&mut self, rank: Rank, step: Step, source: SegmentFault) {
        self.outbox.close(Some(rank), CloseCode::Protocol, &source.to_string());
        let peer = Box::new(self.member(rank).peer());
        let step = if step == Step(0) { self.step() } else { step };
        self.fail(RoundError::PeerFault { peer, rank, step, source });
    }

    pub(super) fn member(&self, rank: Rank) -> &Member {
        &self.spec.members[rank.index()]
    }

    /// The oldest step that runs.
    fn step(&self) -> Step {
        self.active.keys().next().map_or(Step(0), |id| id.step)
    }

    /// Ends everything: rounds here, and by the close the rounds of the peers.
    pub(super) fn fail(&mut self, error: RoundError) {
        if self.failure.is_some() {
            return;
        }
        let farewell = error.farewell();
        tracing::debug!(cause = %farewell, "the group failed");
        // Whoever is at fault itself says so before its links close: peers would name it as lost.
        if !matches!(error, RoundError::Memory { .. }) {
            self.outbox.close(None, CloseCode::Aborted, &farewell);
        }
        for (id, active) in std::mem::take(&mut self.active) {
            drop(active.reply.send(Err(error.at(id.step))));
        }
        self.todo.clear();
        self.early = Early::default();
        self.failure = Some(error);
    }

    async fn close(mut self, mut inbox: Inbox) {
        if let Some(error @ RoundError::Memory { .. }) = &self.failure {
            self.outbox.close(None, CloseCode::Aborted, &error.farewell());
        }
        if !self.active.is_empty() {
            // Nobody else can end these rounds any more.
            let left = RoundError::Aborted { step: self.step(), reason: LEFT_EARLY.to_owned() };
            self.outbox.close(None, CloseCode::Aborted, &left.farewell());
        }
        for (_, active) in std::mem::take(&mut self.active) {
            drop(active.reply.send(Err(RoundError::Closed)));
        }
        let silence = self.silence;
        let connections = self.outbox.into_connections();
        // Without their queues the writers end when everything is acknowledged, or their links are lost.
        let mut progress = sent_frames(&connections);
        while tokio::time::timeout(silence, all_ended(&mut inbox)).await.is_err() {
            let before = std::mem::replace(&mut progress, sent_frames(&connections));
            if progress == before {
                break;
            }
        }
        for connection in connections {
            loss::close(&connection, CloseCode::Done, "done");
        }
    }
}

async fn all_ended(inbox: &mut Inbox) {
    while inbox.notices.recv().await.is_some() {}
}

/// Rises while peers take what is sent to them: a keep-alive carries no data, and what is sent again to nobody
/// ends with the link.
fn sent_frames(connections: &[quinn::Connection]) -> u64 {
    connections.iter().map(|connection| connection.stats().frame_tx.stream).sum()
}

impl<B: Buffers> Active<B> {
    /// What of a header contradicts the round.
    fn fault(&self, from: Rank, header: &hcrun_protocol::frame::SegmentHeader) -> Option<SegmentFault> {
        let class = self.class(header.coverage);
        let (dtype, op) = (self.buffers.dtype(), self.buffers.op());
        if header.class != class {
            let (got, coverage) = (header.class, header.coverage);
            return Some(SegmentFault::Class { got, expected: class, coverage });
        }
        if header.dtype != dtype {
            return Some(SegmentFault::DType { got: header.dtype, expected: dtype });
        }
        if header.op != op {
            return Some(SegmentFault::Operation { got: header.op, expected: op });
        }
        if header.schedule != self.schedule {
            return Some(SegmentFault::OtherSchedule);
        }
        let expected = self.program.expected(from, &header.range()?, header.phase)?;
        (header.codec != expected).then_some(SegmentFault::Codec { got: header.codec, expected })
    }

    pub(super) fn class(&self, coverage: Coverage) -> hcrun_protocol::frame::FrameClass {
        self.classes.of(coverage)
    }

    pub(super) fn schedule(&self) -> u32 {
        self.schedule
    }

    /// One payload a term, empty for the own ones.
    fn take_staged(&mut self, range: &std::ops::Range<usize>, terms: &[Term]) -> Vec<Payload> {
        let take = |term: &Term| match term {
            Term::Own(_) => Payload::default(),
            Term::From { rank, phase, .. } => {
                let staged = self.staged.remove(&(*rank, range.start, *phase));
                staged.map(|staged| staged.payload).unwrap_or_default()
            }
        };
        terms.iter().map(take).collect()
    }

    /// Says whose payload does not fit.
    fn reduce(
        &mut self,
        range: std::ops::Range<usize>,
        terms: &[Term],
        payloads: &[Payload],
        into: Level,
        total: bool,
    ) -> Result<(), (Rank, BufferError)> {
        let pieces: Vec<Vec<&[u8]>> = payloads.iter().map(Payload::pieces).collect();
        let operand = |(term, pieces)| match (term, pieces) {
            (&Term::Own(level), _) => Operand::Own(level),
            (&Term::From { codec, .. }, pieces) => Operand::Received { codec, pieces },
        };
        let operands: Vec<Operand<'_>> =
            terms.iter().zip(pieces.iter().map(Vec::as_slice)).map(operand).collect();
        let average = total && self.buffers.op() == ReduceOp::Average;
        let divisor = average.then_some(self.ranks);
        // A payload has the length that its header announced; the first of several is as good as any.
        let first = terms.iter().find_map(|term| match term {
            Term::From { rank, .. } => Some(*rank),
            Term::Own(_) => None,
        });
        self.buffers
            .reduce(into, range, &operands, divisor)
            .map_err(|error| (first.unwrap_or(Rank(0)), error))
    }
}
