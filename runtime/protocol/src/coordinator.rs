//! The membership machine of one job: who is in, what is committed, what went wrong first.
//!
//! Gathers the slots of a placement, lets them load and link, starts them, holds their digests against
//! each other (a step is committed when all are equal), has checkpoints stored, and ends the job in one of
//! few ways. In this first form a job ends with its first loss; what it leaves is the last checkpoint.
//!
//! It never waits without a deadline, and it names one first cause: evidence is gathered for a moment
//! after the first sign, because the peers of a killed worker often speak before its own link is gone.

use std::collections::{BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};

use crate::control::{
    Activity, AssignedWorker, Assignment, Build, EvaluationSums, FailureReport, LinkReport, MemberAddress,
    Refusal, SentBytes, StateArena, StepReport, ToCoordinator, ToWorker,
};
use crate::frame::FrameClass;
use crate::ids::{NodeId, Rank, SlotId, Step, ZoneId};
use crate::time::{Span, Time};

mod commit;
mod evidence;
mod handover;
mod nap;
mod watch;

pub use evidence::{Failure, FailureKind};

use commit::{Commits, Shape};
use evidence::Evidence;
use handover::Handovers;
use nap::Naps;
use watch::Watch;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Input {
    /// An authenticated link of this slot; slot and zone are the certificate's.
    Connected {
        slot: SlotId,
        zone: ZoneId,
    },
    Message {
        slot: SlotId,
        message: ToCoordinator,
    },
    /// A frame of state came; heartbeats wait behind many of them.
    StateArrived {
        slot: SlotId,
    },
    Disconnected {
        slot: SlotId,
        cause: String,
    },
    /// The worker sent something that cannot be read.
    Broken {
        slot: SlotId,
        what: String,
    },
    /// A backend saw the worker's process end.
    ProcessExited {
        slot: SlotId,
        exit: Exit,
    },
    /// The checkpoint after `step` is on disk and synced.
    Stored {
        step: Step,
    },
    StoreFailed {
        step: Step,
        cause: String,
    },
    /// A graceful stop: checkpoint at the next step boundary.
    Stop,
    /// An immediate end.
    Kill,
    Tick,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Exit {
    Code(i32),
    Signal(i32),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Output {
    Send {
        slot: SlotId,
        message: ToWorker,
    },
    /// Send the resumed state's frames to this worker, after the `Start` that announced them.
    SendState {
        slot: SlotId,
    },
    /// All parts of the state after `step` have arrived and the step is committed: store it.
    Store {
        step: Step,
    },
    /// The state after `step` is not stored: a newer one is complete.
    Discard {
        step: Step,
    },
    Event(Event),
    End(Outcome),
}

/// What happened, for the run's log and for people.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Event {
    Joined {
        slot: SlotId,
        zone: ZoneId,
        node: NodeId,
        cpu_features: String,
    },
    Refused {
        slot: SlotId,
        reason: Refusal,
    },
    Loaded {
        slot: SlotId,
        samples: u64,
        held_out: u64,
    },
    Linked {
        slot: SlotId,
        links: Vec<LinkReport>,
    },
    Started {
        step: Step,
    },
    /// The digest of all parameters, and reports in rank order.
    Committed {
        step: Step,
        digest: u64,
        reports: Vec<StepReport>,
    },
    Evaluated {
        step: Step,
        sums: EvaluationSums,
    },
    /// Sums over the training rows of all zones.
    Statistics {
        sums: Vec<f64>,
    },
    Stored {
        step: Step,
    },
    /// Its disk is slower than checkpoints come.
    Discarded {
        step: Step,
    },
    StopRequested,
    WorkerFinished {
        slot: SlotId,
        steps: u64,
        samples: u64,
        sent: Vec<SentBytes>,
    },
    Failing {
        slot: Option<SlotId>,
        sign: String,
    },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Outcome {
    Done {
        steps: u64,
    },
    /// Ended early by a graceful stop; the checkpoint after the last step is stored.
    Stopped {
        steps: u64,
    },
    Killed,
    Failed(Failure),
}

/// What the coordinator is told at its start.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    pub build: Build,
    /// In rank order; `assignments` likewise.
    pub workers: Vec<AssignedWorker>,
    pub assignments: Vec<Assignment>,
    /// Steps already in the state that the job starts from.
    pub start: Step,
    pub state: Vec<StateArena>,
    /// Of the exchange: how many digests a step has.
    pub buckets: usize,
    /// From a worker's fault to the stop of all processes.
    pub detect_within: Span,
    /// From one worker's coming to the next one's, until all have joined.
    pub join_within: Span,
    /// For files to be read and checked and links to be made, each.
    pub prepare_within: Span,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Gathering,
    Loading,
    Linking,
    Training,
    /// All have finished; waits for the last checkpoint.
    Storing,
    Ended,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum WorkerState {
    Absent,
    Connected,
    Welcome,
    Loaded,
    Linked,
    Training,
    Finished,
    Gone,
}

#[derive(Debug)]
struct Worker {
    state: WorkerState,
    node: Option<NodeId>,
    address: Option<std::net::SocketAddr>,
    watch: Watch,
}

/// See the module.
#[derive(Debug)]
pub struct Coordinator {
    settings: Settings,
    phase: Phase,
    phase_since: Time,
    workers: Vec<Worker>,
    commits: Commits,
    handovers: Handovers,
    storing: Option<Step>,
    stored: Option<Step>,
    finished_steps: Option<(u64, bool)>,
    stopping: bool,
    /// Committed steps since the last that changed something.
    skipped: u64,
    evidence: Evidence,
    naps: Naps,
    next_heartbeat: Time,
    outputs: VecDeque<Output>,
}

const HEARTBEAT_INTERVAL: Span = Span::from_millis(500);

/// Left of `detect_within` for telling everybody and ending the processes.
const STOP_ALLOWANCE: Span = Span::from_millis(600);

/// One bad batch is skipped and forgotten; this many in a row have another cause.
const MAX_SKIPPED: u64 = 20;

impl Coordinator {
    pub fn new(now: Time, settings: Settings) -> Coordinator {
        let silence = silence_limit(settings.detect_within);
        let worker = |_: &AssignedWorker| Worker {
            state: WorkerState::Absent,
            node: None,
            address: None,
            watch: Watch::new(now, silence, settings.detect_within),
        };
        Coordinator {
            phase: Phase::Gathering,
            phase_since: now,
            workers: settings.workers.iter().map(worker).collect(),
            commits: Commits::new(shape(&settings), settings.start),
            handovers: Handovers::new(handing_over(&settings)),
            storing: None,
            stored: None,
            finished_steps: None,
            stopping: false,
            skipped: 0,
            evidence: Evidence::default(),
            naps: Naps::new(now),
            next_heartbeat: now + HEARTBEAT_INTERVAL,
            outputs: VecDeque::new(),
            settings,
        }
    }

    /// Feeds one input. Drain [`Self::poll_output`] before feeding the next.
    pub fn handle(&mut self, now: Time, input: Input) {
        if self.phase == Phase::Ended {
            return;
        }
        self.wake(now);
        match input {
            Input::Connected { slot, zone } => self.on_connected(now, &slot, &zone),
            Input::Message { slot, message } => self.on_message(now, &slot, message),
            Input::StateArrived { slot } => {
                if let Some(rank) = self.rank_of(&slot) {
                    self.workers[rank.index()].watch.excuse(now);
                }
            }
            Input::Disconnected { slot, cause } => self.on_disconnected(now, &slot, cause),
            Input::Broken { slot, what } => {
                if let Some(rank) = self.rank_of(&slot) {
                    self.suspect(now, Some(rank), FailureKind::Protocol, what);
                }
            }
            Input::ProcessExited { slot, exit } => self.on_exited(now, &slot, exit),
            Input::Stored { step } => self.on_stored(step),
            Input::StoreFailed { step, cause } => {
                let text = format!("the checkpoint of {} steps could not be stored: {cause}", step.next());
                self.suspect(now, None, FailureKind::Storage, text);
            }
            Input::Stop => self.on_stop(),
            Input::Kill => self.on_kill(),
            Input::Tick => {}
        }
        self.advance(now);
        self.keep_time(now);
    }

    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to feed [`Input::Tick`] even if nothing else happens.
    pub fn next_deadline(&self) -> Option<Time> {
        if self.phase == Phase::Ended {
            return None;
        }
        if let Some(settled) = self.evidence.settled_at() {
            return Some(settled);
        }
        let judged = self.workers.iter().filter(|worker| self.is_judged(worker));
        let silences = judged.map(|worker| worker.watch.deadline(worker.state == WorkerState::Training));
        let limits = silences.chain(self.phase_limit().map(|limit| self.phase_since + limit));
        Some(limits.fold(self.next_heartbeat, Time::min))
    }

    /// The last step that all members hold with equal digests.
    pub fn committed(&self) -> Option<Step> {
        self.commits.last()
    }

    fn wake(&mut self, now: Time) {
        if let Some(length) = self.naps.wake(now) {
            self.workers.iter_mut().for_each(|worker| worker.watch.excuse(now));
            self.phase_since = self.phase_since + length;
        }
    }

    fn rank_of(&self, slot: &SlotId) -> Option<Rank> {
        self.settings.workers.iter().position(|worker| worker.slot == *slot).map(Rank::from_index)
    }

    fn on_connected(&mut self, now: Time, slot: &SlotId, zone: &ZoneId) {
        let Some(rank) = self.rank_of(slot) else {
            return self.refuse(slot, Refusal::UnknownSlot { slot: slot.clone() });
        };
        let expected = &self.settings.workers[rank.index()].zone;
        if expected != zone {
            let (expected, got) = (expected.clone(), zone.clone());
            return self.refuse(slot, Refusal::Zone { slot: slot.clone(), expected, got });
        }
        let worker = &mut self.workers[rank.index()];
        if worker.state != WorkerState::Absent {
            // Nothing is sent: by its slot only the live worker can be reached.
            let reason = Refusal::Taken { slot: slot.clone() };
            return self.event(Event::Refused { slot: slot.clone(), reason });
        }
        worker.state = WorkerState::Connected;
        worker.watch.hear(now);
        // Many workers on few cores come one after the other; only a standstill is too long.
        self.phase_since = now;
    }

    fn refuse(&mut self, slot: &SlotId, reason: Refusal) {
        self.send(slot.clone(), ToWorker::Refused { reason: reason.clone() });
        self.event(Event::Refused { slot: slot.clone(), reason });
    }

    fn on_message(&mut self, now: Time, slot: &SlotId, message: ToCoordinator) {
        let Some(rank) = self.rank_of(slot) else { return };
        let state = self.workers[rank.index()].state;
        if matches!(state, WorkerState::Absent | WorkerState::Gone) {
            return;
        }
        self.workers[rank.index()].watch.hear(now);
        match (state, message) {
            (WorkerState::Connected, ToCoordinator::Hello { build, node, cpu_features }) => {
                self.on_hello(now, rank, build, node, cpu_features);
            }
            (WorkerState::Welcome, ToCoordinator::Loaded { address, samples, held_out }) => {
                self.workers[rank.index()].address = Some(address);
                self.workers[rank.index()].state = WorkerState::Loaded;
                self.event(Event::Loaded { slot: slot.clone(), samples, held_out });
            }
            (WorkerState::Loaded, ToCoordinator::Linked { links }) => {
                self.workers[rank.index()].state = WorkerState::Linked;
                self.event(Event::Linked { slot: slot.clone(), links });
            }
            (_, ToCoordinator::Heartbeat { progress, activity }) => {
                self.workers[rank.index()].watch.beat(now, progress, activity);
            }
            (WorkerState::Training, ToCoordinator::StepDone { step, digests, report }) => {
                self.on_step_done(now, rank, step, digests, report);
            }
            (WorkerState::Training, ToCoordinator::Evaluated { step, sums }) => {
                if self.speaks(rank) {
                    self.event(Event::Evaluated { step, sums });
                }
            }
            (WorkerState::Training, ToCoordinator::Statistics { sums }) => {
                if self.speaks(rank) {
                    self.event(Event::Statistics { sums });
                }
            }
            (WorkerState::Training, ToCoordinator::StateSent { step }) if self.handovers.awaits(rank) => {
                self.on_state_sent(now, rank, step);
            }
            (WorkerState::Training, ToCoordinator::Finished { steps, stopped, sent, samples }) => {
                self.workers[rank.index()].state = WorkerState::Finished;
                self.event(Event::WorkerFinished { slot: slot.clone(), steps, samples, sent });
                let first = *self.finished_steps.get_or_insert((steps, stopped));
                if first != (steps, stopped) {
                    let text = format!("finished after {steps} steps, others after {}", first.0);
                    self.suspect(now, Some(rank), FailureKind::Protocol, text);
                }
            }
            (_, ToCoordinator::Failed(report)) => self.on_failed(now, rank, report),
            (state, message) => {
                let text = format!("sent {} while {state:?}", name(&message));
                self.suspect(now, Some(rank), FailureKind::Protocol, text);
            }
        }
    }

    fn on_hello(&mut self, now: Time, rank: Rank, build: Build, node: NodeId, cpu_features: String) {
        let slot = self.settings.workers[rank.index()].slot.clone();
        if build != self.settings.build {
            let (ours, theirs) = (describe(&self.settings.build), describe(&build));
            let reason = Refusal::Build { worker: theirs, coordinator: ours };
            let text = reason.to_string();
            self.refuse(&slot, reason);
            return self.suspect(now, Some(rank), FailureKind::Build, text);
        }
        let worker = &mut self.workers[rank.index()];
        worker.state = WorkerState::Welcome;
        worker.node = Some(node.clone());
        let zone = self.settings.workers[rank.index()].zone.clone();
        self.event(Event::Joined { slot: slot.clone(), zone, node, cpu_features });
        let assignment = self.settings.assignments[rank.index()].clone();
        self.send(slot, ToWorker::Welcome(Box::new(assignment)));
    }

    fn on_step_done(&mut self, now: Time, rank: Rank, step: Step, digests: Vec<u64>, report: StepReport) {
        match self.commits.add(rank, step, digests, report) {
            Ok(committed) => {
                for commit::Committed { step, digest, reports } in committed {
                    self.count_skipped(now, step, &reports);
                    self.event(Event::Committed { step, digest, reports });
                }
            }
            Err(commit::Refusal::Differs { rank, text }) => {
                self.suspect(now, Some(rank), FailureKind::Divergence, text);
            }
            Err(commit::Refusal::Broken { rank, text }) => {
                self.suspect(now, Some(rank), FailureKind::Protocol, text);
            }
        }
    }

    /// A gradient that is not finite changes nothing; where all are so, training on is a waste.
    fn count_skipped(&mut self, now: Time, step: Step, reports: &[StepReport]) {
        let skipped = reports.first().is_some_and(|report| report.skipped);
        self.skipped = if skipped { self.skipped + 1 } else { 0 };
        if self.skipped == MAX_SKIPPED {
            let steps = step.next();
            let text = format!("{MAX_SKIPPED} steps in a row had no finite gradient, up to step {steps}");
            self.suspect(now, None, FailureKind::NotFinite, text);
        }
    }

    /// Where one voice is enough, it is the first of the zone whose state is stored: sums of other zones'
    /// rows reach it as sums, and nothing more crosses a border.
    fn speaks(&self, rank: Rank) -> bool {
        self.handovers.first() == Some(rank)
    }

    fn on_state_sent(&mut self, now: Time, rank: Rank, step: Step) {
        if !self.commits.has_reported(rank, step) {
            let text = format!("handed over the state after step {step}, which it has not reported");
            return self.suspect(now, Some(rank), FailureKind::Protocol, text);
        }
        if let Err(handover::Refusal { rank, text }) = self.handovers.add(rank, step) {
            self.suspect(now, Some(rank), FailureKind::Protocol, text);
        }
    }

    fn on_stored(&mut self, step: Step) {
        self.storing = None;
        self.stored = Some(step);
        self.event(Event::Stored { step });
    }

    fn on_failed(&mut self, now: Time, rank: Rank, report: FailureReport) {
        self.workers[rank.index()].state = WorkerState::Gone;
        // Blame falls on the peer that was named, if there is one.
        let blamed = report.peer.filter(|peer| peer.index() < self.workers.len()).unwrap_or(rank);
        self.evidence.spoke(rank, blamed);
        let witness = &self.settings.workers[rank.index()].slot;
        let kind = FailureKind::of(&report);
        if blamed == rank {
            return self.suspect(now, Some(rank), kind, report.text);
        }
        let text = format!("{witness} reports: {}", report.text);
        match self.workers[blamed.index()].watch.missed(now) {
            // Both have lost it: not the link, the worker.
            Some(silence) => {
                let text = format!("no heartbeat for {silence}, and {text}");
                self.suspect(now, Some(blamed), FailureKind::Silent, text);
            }
            None => self.suspect(now, Some(blamed), kind, text),
        }
    }

    fn on_disconnected(&mut self, now: Time, slot: &SlotId, cause: String) {
        // After the first sign everybody has been told to leave, and leaves.
        if let Some(rank) = self.leave(slot)
            && self.evidence.settled_at().is_none()
            && self.phase != Phase::Storing
        {
            self.lose(now, rank, FailureKind::Disconnected, cause);
        }
    }

    fn on_exited(&mut self, now: Time, slot: &SlotId, exit: Exit) {
        let Some(rank) = self.leave(slot) else { return };
        // Everything it had to give is here.
        if self.phase == Phase::Storing {
            return;
        }
        match exit {
            // Its peers may have spoken first; a signal is still the more direct sign.
            Exit::Signal(signal) => {
                let text = format!("the process was ended by signal {signal}");
                self.suspect(now, Some(rank), FailureKind::Exited, text);
            }
            Exit::Code(code) if self.evidence.settled_at().is_none() => {
                let text = format!("the process ended with exit code {code}");
                self.lose(now, rank, FailureKind::Exited, text);
            }
            Exit::Code(_) => {}
        }
    }

    /// Marks a worker gone; none if it is unknown or has said why it leaves.
    fn leave(&mut self, slot: &SlotId) -> Option<Rank> {
        let rank = self.rank_of(slot)?;
        let state = std::mem::replace(&mut self.workers[rank.index()].state, WorkerState::Gone);
        (state != WorkerState::Gone || !self.evidence.spoke_for_itself(rank)).then_some(rank)
    }

    fn on_stop(&mut self) {
        if std::mem::replace(&mut self.stopping, true) {
            return;
        }
        self.event(Event::StopRequested);
        if self.phase == Phase::Training {
            self.tell_all(WorkerState::Training, &ToWorker::Stop);
        }
    }

    fn on_kill(&mut self) {
        self.tell_everybody(&ToWorker::Abort { cause: "killed by the user".to_owned() });
        self.end(Outcome::Killed);
    }

    /// Moves to the next phase once every worker has arrived there.
    fn advance(&mut self, now: Time) {
        if self.evidence.settled_at().is_some() {
            return;
        }
        match self.phase {
            // Stopped before training began: nothing is lost by leaving at once.
            Phase::Gathering | Phase::Loading | Phase::Linking if self.stopping => {
                self.tell_everybody(&ToWorker::Abort { cause: "stopped by the user".to_owned() });
                self.end(Outcome::Stopped { steps: self.settings.start.0 });
            }
            Phase::Gathering if self.workers.iter().all(|w| w.state >= WorkerState::Welcome) => {
                self.enter(now, Phase::Loading);
                self.advance(now);
            }
            Phase::Loading if self.all_are(WorkerState::Loaded) => {
                self.form();
                self.enter(now, Phase::Linking);
            }
            Phase::Linking if self.all_are(WorkerState::Linked) => {
                self.start();
                self.enter(now, Phase::Training);
            }
            Phase::Training => {
                self.store_complete();
                if self.all_are(WorkerState::Finished) {
                    self.enter(now, Phase::Storing);
                    self.finish();
                }
            }
            Phase::Storing => {
                self.store_complete();
                self.finish();
            }
            _ => {}
        }
    }

    fn all_are(&self, state: WorkerState) -> bool {
        self.workers.iter().all(|worker| worker.state == state)
    }

    fn form(&mut self) {
        let generation = self.settings.assignments[0].generation;
        let address = |(index, worker): (usize, &Worker)| MemberAddress {
            rank: Rank::from_index(index),
            address: worker.address.expect("a loaded worker has said its address"),
        };
        let members: Vec<_> = self.workers.iter().enumerate().map(address).collect();
        self.tell_all(WorkerState::Loaded, &ToWorker::Form { generation, members });
    }

    fn start(&mut self) {
        let (step, state) = (self.settings.start, self.settings.state.clone());
        for index in 0..self.workers.len() {
            self.workers[index].state = WorkerState::Training;
            let slot = self.settings.workers[index].slot.clone();
            self.send(slot.clone(), ToWorker::Start { step, state: state.clone() });
            if !state.is_empty() {
                self.outputs.push_back(Output::SendState { slot });
            }
        }
        self.event(Event::Started { step });
    }

    /// A checkpoint may be stored when all its parts are here and its step is committed. One is written at a
    /// time; where they come faster than the disk writes, the newest overtakes those that wait.
    fn store_complete(&mut self) {
        let Some(newest) = self.handovers.newest_complete(self.commits.last()) else { return };
        for step in self.handovers.overtake(newest) {
            self.outputs.push_back(Output::Discard { step });
            self.event(Event::Discarded { step });
        }
        if self.storing.is_none() {
            self.handovers.take(newest);
            self.storing = Some(newest);
            self.outputs.push_back(Output::Store { step: newest });
        }
    }

    fn finish(&mut self) {
        let Some((steps, stopped)) = self.finished_steps else { return };
        let nothing_done = steps == self.settings.start.0;
        let last = Step(steps.saturating_sub(1));
        let complete = nothing_done || (self.stored == Some(last) && self.commits.last() >= Some(last));
        if self.handovers.is_empty() && self.storing.is_none() && complete {
            self.tell_all(WorkerState::Finished, &ToWorker::Release);
            self.end(if stopped { Outcome::Stopped { steps } } else { Outcome::Done { steps } });
        }
    }

    /// A worker is gone without a word.
    fn lose(&mut self, now: Time, rank: Rank, kind: FailureKind, text: String) {
        match self.naps.explains_loss(now, silence_limit(self.settings.detect_within)) {
            Some(length) => {
                let text = format!("the launcher itself stood still for {length}, and its workers left");
                self.suspect(now, None, FailureKind::StoodStill, text);
            }
            None => self.suspect(now, Some(rank), kind, text),
        }
    }

    fn suspect(&mut self, now: Time, rank: Option<Rank>, kind: FailureKind, text: String) {
        let first = self.evidence.add(now, rank, kind, text.clone());
        if first {
            let slot = rank.map(|rank| self.settings.workers[rank.index()].slot.clone());
            let cause = slot.as_ref().map_or_else(|| text.clone(), |slot| format!("{slot}: {text}"));
            self.event(Event::Failing { slot, sign: text });
            self.tell_everybody(&ToWorker::Abort { cause });
        }
    }

    fn keep_time(&mut self, now: Time) {
        if self.phase == Phase::Ended {
            return;
        }
        if let Some(settled) = self.evidence.settled_at() {
            if now >= settled {
                let failure = self.conclude();
                self.end(Outcome::Failed(failure));
            }
            return;
        }
        self.judge(now);
        if now >= self.next_heartbeat {
            self.next_heartbeat = now + HEARTBEAT_INTERVAL;
            self.tell_everybody(&ToWorker::Heartbeat);
        }
    }

    /// Whether a silence of this worker is a loss.
    fn is_judged(&self, worker: &Worker) -> bool {
        watched(worker.state) && self.phase != Phase::Storing
    }

    fn judge(&mut self, now: Time) {
        for index in 0..self.workers.len() {
            let worker = &self.workers[index];
            if !self.is_judged(worker) {
                continue;
            }
            let verdict = worker.watch.verdict(now, worker.state == WorkerState::Training);
            match verdict {
                Some((kind @ FailureKind::Silent, text)) => {
                    self.lose(now, Rank::from_index(index), kind, text);
                }
                Some((kind, text)) => self.suspect(now, Some(Rank::from_index(index)), kind, text),
                None => {}
            }
        }
        if let Some(limit) = self.phase_limit()
            && now >= self.phase_since + limit
        {
            self.phase_overdue(now, limit);
        }
    }

    fn phase_limit(&self) -> Option<Span> {
        match self.phase {
            Phase::Gathering => Some(self.settings.join_within),
            Phase::Loading | Phase::Linking | Phase::Storing => Some(self.settings.prepare_within),
            Phase::Training | Phase::Ended => None,
        }
    }

    fn phase_overdue(&mut self, now: Time, limit: Span) {
        let (wanted, what, kind) = match self.phase {
            Phase::Gathering => (WorkerState::Welcome, "did not join", FailureKind::NotJoined),
            Phase::Loading => (WorkerState::Loaded, "did not load its data", FailureKind::Overdue),
            Phase::Linking => (WorkerState::Linked, "did not link to the others", FailureKind::Overdue),
            _ => (WorkerState::Finished, "did not finish", FailureKind::Overdue),
        };
        let late = self.workers.iter().position(|worker| worker.state < wanted).map(Rank::from_index);
        self.suspect(now, late, kind, format!("{what} within {limit}"));
    }

    fn conclude(&self) -> Failure {
        let verdict = self.evidence.first_cause();
        let worker = verdict.rank.map(|rank| &self.settings.workers[rank.index()]);
        Failure {
            slot: worker.map(|worker| worker.slot.clone()),
            zone: worker.map(|worker| worker.zone.clone()),
            node: verdict.rank.and_then(|rank| self.workers[rank.index()].node.clone()),
            kind: verdict.kind,
            text: verdict.text.clone(),
            committed: self.commits.last(),
            stored: self.stored,
        }
    }

    fn enter(&mut self, now: Time, phase: Phase) {
        self.phase = phase;
        self.phase_since = now;
    }

    fn end(&mut self, outcome: Outcome) {
        self.phase = Phase::Ended;
        self.outputs.push_back(Output::End(outcome));
    }

    fn event(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    fn send(&mut self, slot: SlotId, message: ToWorker) {
        self.outputs.push_back(Output::Send { slot, message });
    }

    fn tell_all(&mut self, state: WorkerState, message: &ToWorker) {
        for index in 0..self.workers.len() {
            if self.workers[index].state == state {
                self.send(self.settings.workers[index].slot.clone(), message.clone());
            }
        }
    }

    fn tell_everybody(&mut self, message: &ToWorker) {
        for index in 0..self.workers.len() {
            if watched(self.workers[index].state) {
                self.send(self.settings.workers[index].slot.clone(), message.clone());
            }
        }
    }
}

fn watched(state: WorkerState) -> bool {
    !matches!(state, WorkerState::Absent | WorkerState::Gone)
}

/// How long one side may be silent before the other gives it up, so that all have stopped in time.
pub fn silence_limit(detect_within: Span) -> Span {
    detect_within.saturating_sub(STOP_ALLOWANCE)
}

/// Sent bytes are told by class and zone that has workers.
fn shape(settings: &Settings) -> Shape {
    let zones: BTreeSet<&ZoneId> = settings.workers.iter().map(|worker| &worker.zone).collect();
    let rows = zones.len() * FrameClass::ALL.len();
    Shape { ranks: settings.workers.len(), buckets: settings.buckets, rows }
}

/// Those whose parts of a checkpoint are waited for.
fn handing_over(settings: &Settings) -> impl Iterator<Item = Rank> {
    let zone = settings.assignments.first().map(|assignment| &assignment.checkpoint_zone);
    let ranks = settings.workers.iter().enumerate();
    ranks.filter(move |(_, worker)| Some(&worker.zone) == zone).map(|(index, _)| Rank::from_index(index))
}

fn describe(build: &Build) -> String {
    format!("{} (protocol {})", build.program, build.protocol)
}

fn name(message: &ToCoordinator) -> &'static str {
    match message {
        ToCoordinator::Hello { .. } => "hello",
        ToCoordinator::Loaded { .. } => "loaded",
        ToCoordinator::Linked { .. } => "linked",
        ToCoordinator::Heartbeat { .. } => "heartbeat",
        ToCoordinator::StepDone { .. } => "step done",
        ToCoordinator::Evaluated { .. } => "evaluation",
        ToCoordinator::Statistics { .. } => "statistics",
        ToCoordinator::StateSent { .. } => "state",
        ToCoordinator::Finished { .. } => "finished",
        ToCoordinator::Failed(_) => "failure",
    }
}

#[cfg(test)]
mod tests;
