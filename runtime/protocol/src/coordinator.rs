//! The membership machine of one job: who is in, what is committed, what went wrong first.
//!
//! Gathers the slots of a placement, lets them load and link, starts them, holds their digests against
//! each other (a step is committed when all are equal), has checkpoints stored, and ends the job in one of
//! few ways. In this first form a job ends with its first loss; what it leaves is the last checkpoint.
//!
//! It never waits without a deadline, and it names one first cause: evidence is gathered for a moment
//! after the first sign, because the peers of a killed worker often speak before its own link is gone.

use std::collections::{BTreeSet, VecDeque};

use crate::control::{AssignedWorker, NodeGroupOffer, ToWorker};
use crate::frame::FrameClass;
use crate::ids::{NodeId, Rank, SlotId, Step, ZoneId};
use crate::time::{Span, Time};

mod commit;
mod evidence;
mod handover;
mod hear;
mod nap;
mod nodes;
mod phase;
mod watch;
mod words;

pub use evidence::{Failure, FailureKind};
pub use words::{Event, Exit, Input, Outcome, Output, Settings};

use commit::{Commits, Shape};
use evidence::Evidence;
use handover::Handovers;
use nap::Naps;
use watch::Watch;

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
    lanes: Vec<std::net::SocketAddr>,
    offer: Option<NodeGroupOffer>,
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

impl Coordinator {
    pub fn new(now: Time, settings: Settings) -> Coordinator {
        let silence = silence_limit(settings.detect_within);
        let worker = |_: &AssignedWorker| Worker {
            state: WorkerState::Absent,
            node: None,
            lanes: Vec::new(),
            offer: None,
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

#[cfg(test)]
mod tests;
