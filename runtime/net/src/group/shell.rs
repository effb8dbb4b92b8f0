//! The shell around rounds: feeds each [`Round`] what arrives and does what it says.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hcrun_protocol::buffers::Buffers;
use hcrun_protocol::dtype::Codec;
use hcrun_protocol::frame::{HEADER_BYTES, SegmentHeader, payload_crc32c};
use hcrun_protocol::round::{Cause, Input, Output, Round, RoundId};
use hcrun_protocol::schedule::{Coverage, Phase};
use hcrun_protocol::{Rank, Step, Time, ZoneId};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::counters::Counters;
use super::form::Link;
use super::link::{self, Event, Outgoing, Rules};
use super::{FormSpec, Member, RoundClasses, RoundError, RoundSpec, SegmentFault};
use crate::loss::{self, CloseCode, LinkLoss};

pub(super) enum Command<B> {
    Submit { spec: RoundSpec<B>, reply: SyncSender<Result<B, RoundError>> },
    Close,
}

/// All state of a group; owned by the lane's thread.
pub(super) struct Shell<B> {
    spec: FormSpec,
    links: BTreeMap<Rank, Outbound>,
    counters: Arc<Counters>,
    started: Instant,
    active: BTreeMap<RoundId, Active<B>>,
    early: BTreeMap<Rank, Early>,
    /// Rounds that have ended, to tell a repetition from a round to come.
    over: BTreeSet<RoundId>,
    /// The latest attempt that was submitted here; frames of earlier ones are dropped.
    attempt: u16,
    /// What machines have asked for and is not done yet, in the order it came.
    todo: VecDeque<(RoundId, Output)>,
    /// The first failure: nothing succeeds after it.
    failure: Option<RoundError>,
    writers: JoinSet<(Rank, Result<(), LinkLoss>)>,
    readers: JoinSet<()>,
    /// Readers hold clones of the sender; the one here keeps the channel open in a group of one.
    events: (mpsc::Sender<Event>, mpsc::Receiver<Event>),
}

struct Outbound {
    connection: quinn::Connection,
    zone: ZoneId,
    queue: mpsc::UnboundedSender<Outgoing>,
    /// The peer closed its end after it had sent all it had to send.
    left: Option<LinkLoss>,
}

/// A round that runs.
struct Active<B> {
    round: Round,
    classes: RoundClasses,
    buffers: B,
    reply: SyncSender<Result<B, RoundError>>,
    /// Payloads until the machine takes them. It refuses what is not in the program, which bounds them.
    staged: BTreeMap<(Rank, usize, Phase), Bytes>,
    /// How many segments each peer still owes.
    owed: BTreeMap<Rank, usize>,
}

/// What a peer has sent for rounds that are not submitted here yet.
#[derive(Default)]
struct Early {
    bytes: usize,
    segments: BTreeMap<RoundId, Vec<(SegmentHeader, Bytes)>>,
}

/// More rounds than any two steps have. Older ones are forgotten: their repetition then counts as early.
const OVER_LIMIT: usize = 4_096;
/// How many segments of all peers may wait between the readers and the shell.
const EVENT_LIMIT: usize = 16;
/// Bytes moved or added between two looks at the network; about a millisecond.
const WORK_SLICE_BYTES: usize = 1 << 20;
/// How long a close may wait until queued segments are delivered.
const FAREWELL: Duration = Duration::from_secs(1);
/// When no round has a deadline.
const IDLE_TICK: Duration = Duration::from_secs(60);

impl<B: Buffers> Shell<B> {
    pub(super) fn new(spec: FormSpec, links: Vec<Link>, counters: Arc<Counters>) -> Shell<B> {
        let mut shell = Shell {
            links: BTreeMap::new(),
            counters,
            started: Instant::now(),
            active: BTreeMap::new(),
            early: BTreeMap::new(),
            over: BTreeSet::new(),
            attempt: 0,
            todo: VecDeque::new(),
            failure: None,
            writers: JoinSet::new(),
            readers: JoinSet::new(),
            events: mpsc::channel(EVENT_LIMIT),
            spec,
        };
        links.into_iter().for_each(|link| shell.add_link(link));
        shell
    }

    fn add_link(&mut self, Link { member, connection, .. }: Link) {
        let peer = member.rank;
        let rules = Rules {
            job: self.spec.job,
            generation: self.spec.generation,
            peer,
            same_zone: member.zone == *self.zone(),
            segment_bytes: self.spec.segment_bytes,
            counters: self.counters.clone(),
        };
        self.readers.spawn(link::read(connection.clone(), rules, self.events.0.clone()));
        let (queue, segments) = mpsc::unbounded_channel();
        let writer = link::write(connection.clone(), segments);
        self.writers.spawn(async move { (peer, writer.await) });
        self.links.insert(peer, Outbound { connection, zone: member.zone, queue, left: None });
    }

    fn zone(&self) -> &ZoneId {
        &self.spec.members[self.spec.me.index()].zone
    }

    fn now(&self) -> Time {
        Time(u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    /// Runs until the group is closed.
    pub(super) async fn run(
        mut self,
        mut commands: mpsc::UnboundedReceiver<Command<B>>,
        mut causes: mpsc::Receiver<String>,
    ) {
        let mut worked = 0;
        loop {
            if let Some((id, output)) = self.todo.pop_front() {
                worked += self.act(id, output);
                // What arrived does not wait until everything that was asked for is done.
                while let Ok(event) = self.events.1.try_recv() {
                    self.on_event(event);
                }
                if worked >= WORK_SLICE_BYTES {
                    worked = 0;
                    if let Ok(reason) = causes.try_recv() {
                        self.fail(RoundError::Aborted { step: self.step(), reason });
                    }
                    self.on_tick();
                    tokio::task::yield_now().await;
                }
                continue;
            }
            let wake = self.next_wake();
            tokio::select! {
                Some(event) = self.events.1.recv() => self.on_event(event),
                command = commands.recv() => match command {
                    Some(Command::Submit { spec, reply }) => self.on_submit(spec, reply),
                    Some(Command::Close) | None => break,
                },
                Some(reason) = causes.recv() => self.fail(RoundError::Aborted { step: self.step(), reason }),
                Some(Ok((peer, Err(loss)))) = self.writers.join_next() => self.on_lost(peer, loss),
                () = tokio::time::sleep_until(wake.into()) => self.on_tick(),
            }
        }
        self.close().await;
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
        self.raise_attempt(id.attempt);
        let mut owed = BTreeMap::new();
        for (from, _) in spec.program.receives() {
            *owed.entry(from).or_default() += 1;
        }
        let ready = 0..spec.program.elems;
        let round = Round::new(self.now(), spec.program, id, spec.deadline);
        let active = Active {
            round,
            classes: spec.classes,
            buffers: spec.buffers,
            reply,
            staged: BTreeMap::new(),
            owed,
        };
        self.active.insert(id, active);
        self.feed(id, Input::Ready { range: ready });
        for (from, header, payload) in self.take_early(id) {
            self.deliver(from, id, &header, payload);
        }
        let left: Vec<_> =
            self.links.iter().filter(|(_, link)| link.left.is_some()).map(|(r, _)| *r).collect();
        left.into_iter().for_each(|peer| self.check_debts_of(peer));
    }

    /// Why a round is not begun. Only an earlier failure concerns the other rounds.
    fn refusal(&self, spec: &RoundSpec<B>) -> Option<RoundError> {
        let id = spec.id;
        let (program, buffers) = (spec.program.elems, spec.buffers.elems());
        let longest = spec.program.intervals.iter().map(|interval| interval.range.len()).max().unwrap_or(0);
        let (got, limit) = (longest.saturating_mul(spec.buffers.dtype().bytes()), self.spec.segment_bytes);
        if let Some(failure) = &self.failure {
            Some(failure.at(id.step))
        } else if id.generation != self.spec.generation {
            Some(RoundError::Generation { id, group: self.spec.generation })
        } else if self.active.contains_key(&id) || self.over.contains(&id) {
            Some(RoundError::Twice(id))
        } else if program != buffers {
            Some(RoundError::Elems { id, program, buffers })
        } else if got > limit {
            Some(RoundError::SegmentTooLong { id, got, limit })
        } else {
            None
        }
    }

    fn raise_attempt(&mut self, attempt: u16) {
        if attempt > self.attempt {
            self.attempt = attempt;
            for early in self.early.values_mut() {
                early.segments.retain(|id, _| id.attempt >= attempt);
                early.bytes =
                    early.segments.values().flatten().map(|(_, payload)| frame_bytes(payload)).sum();
            }
        }
    }

    fn take_early(&mut self, id: RoundId) -> Vec<(Rank, SegmentHeader, Bytes)> {
        let mut taken = Vec::new();
        for (from, early) in &mut self.early {
            for (header, payload) in early.segments.remove(&id).unwrap_or_default() {
                early.bytes -= frame_bytes(&payload);
                taken.push((*from, header, payload));
            }
        }
        taken
    }

    fn on_event(&mut self, event: Event) {
        match event {
            _ if self.failure.is_some() => {}
            Event::Arrived { from, header, payload } => self.on_arrived(from, header, payload),
            Event::Lost { peer, loss } => self.on_lost(peer, loss),
            Event::Fault { peer, fault } => self.on_fault(peer, Step(0), fault),
        }
    }

    fn on_arrived(&mut self, from: Rank, header: SegmentHeader, payload: Bytes) {
        let id = RoundId {
            generation: header.generation,
            attempt: header.attempt,
            step: header.step,
            tag: header.round,
        };
        if header.attempt < self.attempt {
            self.counters.on_outdated();
        } else if self.active.contains_key(&id) {
            self.deliver(from, id, &header, payload);
        } else if self.over.contains(&id) {
            self.on_fault(from, id.step, SegmentFault::RoundOver(id));
        } else {
            let early = self.early.entry(from).or_default();
            early.bytes += frame_bytes(&payload);
            let (bytes, limit) = (early.bytes, self.spec.staging_bytes);
            early.segments.entry(id).or_default().push((header, payload));
            if bytes > limit {
                self.on_fault(from, id.step, SegmentFault::TooFarAhead { bytes, limit });
            }
        }
    }

    /// Hands a segment to its round.
    fn deliver(&mut self, from: Rank, id: RoundId, header: &SegmentHeader, payload: Bytes) {
        let Some(active) = self.active.get_mut(&id) else { return };
        let expected = active.classes.of(header.coverage);
        let fault = if header.class != expected {
            Some(SegmentFault::Class { got: header.class, expected, coverage: header.coverage })
        } else if header.dtype != active.buffers.dtype() {
            Some(SegmentFault::DType { got: header.dtype, expected: active.buffers.dtype() })
        } else {
            None
        };
        // A header whose range is no range was refused when it was decoded.
        let (None, Some(range)) = (&fault, header.range()) else {
            return fault.into_iter().for_each(|fault| self.on_fault(from, id.step, fault));
        };
        if let Some(owed) = active.owed.get_mut(&from) {
            *owed = owed.saturating_sub(1);
        }
        active.staged.insert((from, range.start, header.phase), payload);
        self.feed(id, Input::Arrived { from, range, phase: header.phase });
    }

    fn feed(&mut self, id: RoundId, input: Input) {
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
            Output::Send { to, level, range, phase, coverage } => {
                let mut payload = Vec::with_capacity(range.len() * active.buffers.dtype().bytes());
                active.buffers.encode(level, range.clone(), &mut payload);
                let header = SegmentHeader {
                    class: active.classes.of(coverage),
                    job: self.spec.job,
                    generation: id.generation,
                    attempt: id.attempt,
                    source: self.spec.me,
                    round: id.tag,
                    step: id.step,
                    offset: range.start as u64,
                    elems: u32::try_from(range.len()).expect("segments are capped far below 2^32"),
                    dtype: active.buffers.dtype(),
                    codec: Codec::None,
                    phase,
                    coverage,
                    payload_crc32c: payload_crc32c(&payload),
                };
                let bytes = HEADER_BYTES + payload.len();
                self.send(to, &header, payload);
                // The payload is a copy: the range may change again.
                self.feed(id, Input::Sent { range });
                bytes
            }
            Output::Reduce { from, range, phase, into, write } => {
                let payload = active.staged.remove(&(from, range.start, phase)).unwrap_or_default();
                match active.buffers.receive(into, range.clone(), write, &payload) {
                    Ok(()) => self.feed(id, Input::Reduced { range }),
                    Err(error) => self.on_fault(from, id.step, SegmentFault::Payload(error)),
                }
                payload.len()
            }
            Output::Combine { from, into, range, write } => {
                let bytes = range.len() * active.buffers.dtype().bytes();
                active.buffers.combine(from, into, range.clone(), write);
                self.feed(id, Input::Reduced { range });
                bytes
            }
            Output::Done => {
                if let Some(active) = self.active.remove(&id) {
                    drop(active.reply.send(Ok(active.buffers)));
                }
                self.over.insert(id);
                if self.over.len() > OVER_LIMIT {
                    self.over.pop_first();
                }
                0
            }
            Output::Failed { peer, step, cause } => {
                self.on_round_failed(peer, step, cause);
                0
            }
        }
    }

    fn send(&mut self, to: Rank, header: &SegmentHeader, payload: Vec<u8>) {
        let same_zone = self.links.get(&to).is_some_and(|link| link.zone == *self.zone());
        let Some(link) = self.links.get(&to) else {
            let reason = format!("the schedule names {to}, which is no other member");
            return self.fail(RoundError::Aborted { step: header.step, reason });
        };
        if !same_zone && (!header.class.may_cross_border() || header.coverage == Coverage::Partial) {
            let peer = Box::new(self.member(to).peer());
            let (class, coverage) = (header.class, header.coverage);
            return self.fail(RoundError::Border { peer, step: header.step, class, coverage });
        }
        if let Some(loss) = link.left.clone() {
            return self.on_gone(to, header.step, loss);
        }
        self.counters.on_sent(to, header.class, HEADER_BYTES + payload.len());
        // If the writer has ended, its reason is on the way here.
        drop(link.queue.send([Bytes::copy_from_slice(&header.encode()), Bytes::from(payload)]));
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

    /// A link has ended. A peer that is done may leave: all that it sends has arrived before this.
    fn on_lost(&mut self, peer: Rank, loss: LinkLoss) {
        let done = matches!(&loss, LinkLoss::ClosedByPeer { code: CloseCode::Done, .. });
        match self.links.get_mut(&peer) {
            Some(link) if done => {
                link.left = Some(loss);
                self.check_debts_of(peer);
            }
            _ => self.on_gone(peer, self.step(), loss),
        }
    }

    /// Fails if a running round still waits for a peer that has left.
    fn check_debts_of(&mut self, peer: Rank) {
        let owes = |active: &Active<B>| active.owed.get(&peer).is_some_and(|owed| *owed > 0);
        let step = self.active.iter().find(|(_, active)| owes(active)).map(|(id, _)| id.step);
        let loss = self.links.get(&peer).and_then(|link| link.left.clone());
        if let (Some(step), Some(loss)) = (step, loss) {
            self.on_gone(peer, step, loss);
        }
    }

    fn on_gone(&mut self, rank: Rank, step: Step, source: LinkLoss) {
        let peer = self.member(rank).peer();
        self.fail(match source {
            LinkLoss::ClosedByPeer { code: CloseCode::Aborted, reason } => {
                RoundError::gave_up(peer, rank, self.spec.members.len(), step, &reason)
            }
            source => RoundError::PeerLost { peer: Box::new(peer), rank, step, source },
        });
    }

    fn on_fault(&mut self, rank: Rank, step: Step, source: SegmentFault) {
        if let Some(link) = self.links.get(&rank) {
            loss::close(&link.connection, CloseCode::Protocol, &source.to_string());
        }
        let peer = Box::new(self.member(rank).peer());
        let step = if step == Step(0) { self.step() } else { step };
        self.fail(RoundError::PeerFault { peer, rank, step, source });
    }

    fn member(&self, rank: Rank) -> &Member {
        &self.spec.members[rank.index()]
    }

    /// The oldest step that runs.
    fn step(&self) -> Step {
        self.active.keys().next().map_or(Step(0), |id| id.step)
    }

    /// Ends everything: rounds here, and by the close the rounds of the peers.
    fn fail(&mut self, error: RoundError) {
        if self.failure.is_some() {
            return;
        }
        let farewell = error.farewell();
        tracing::debug!(cause = %farewell, "the group failed");
        for link in self.links.values() {
            loss::close(&link.connection, CloseCode::Aborted, &farewell);
        }
        for (id, active) in std::mem::take(&mut self.active) {
            drop(active.reply.send(Err(error.at(id.step))));
        }
        self.todo.clear();
        self.early.clear();
        self.failure = Some(error);
    }

    async fn close(mut self) {
        for (_, active) in std::mem::take(&mut self.active) {
            drop(active.reply.send(Err(RoundError::Closed)));
        }
        let connections: Vec<_> =
            std::mem::take(&mut self.links).into_values().map(|link| link.connection).collect();
        // Without their queues the writers end when everything is delivered.
        let delivered = async { while self.writers.join_next().await.is_some() {} };
        drop(tokio::time::timeout(FAREWELL, delivered).await);
        for connection in connections {
            loss::close(&connection, CloseCode::Done, "done");
        }
        self.readers.abort_all();
    }
}

fn frame_bytes(payload: &Bytes) -> usize {
    HEADER_BYTES + payload.len()
}
