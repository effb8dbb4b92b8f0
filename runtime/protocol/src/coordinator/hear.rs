//! What each input changes: words of workers, ends of links and processes, the disk's answers, the user.

use super::{Coordinator, Event, Exit, FailureKind, Outcome, Phase, WorkerState, commit, handover};
use crate::control::{Build, FailureReport, NodeGroupOffer, Refusal, StepReport, ToCoordinator, ToWorker};
use crate::ids::{NodeId, Rank, SlotId, Step, ZoneId};
use crate::link::MAX_LANES;
use crate::time::Time;

/// One bad batch is skipped and forgotten; this many in a row have another cause.
pub(super) const MAX_SKIPPED: u64 = 20;

impl Coordinator {
    pub(super) fn on_connected(&mut self, now: Time, slot: &SlotId, zone: &ZoneId) {
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

    pub(super) fn on_message(&mut self, now: Time, slot: &SlotId, message: ToCoordinator) {
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
            (WorkerState::Welcome, ToCoordinator::Loaded { lanes, samples, held_out, node_group })
                if (1..=MAX_LANES).contains(&lanes.len())
                    && node_group.as_ref().is_none_or(NodeGroupOffer::is_sound) =>
            {
                self.workers[rank.index()].lanes = lanes;
                self.workers[rank.index()].offer = node_group;
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

    pub(super) fn on_stored(&mut self, step: Step) {
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

    pub(super) fn on_disconnected(&mut self, now: Time, slot: &SlotId, cause: String) {
        // After the first sign everybody has been told to leave, and leaves.
        if let Some(rank) = self.leave(slot)
            && self.evidence.settled_at().is_none()
            && self.phase != Phase::Storing
        {
            self.lose(now, rank, FailureKind::Disconnected, cause);
        }
    }

    pub(super) fn on_exited(&mut self, now: Time, slot: &SlotId, exit: Exit) {
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

    pub(super) fn on_stop(&mut self) {
        if std::mem::replace(&mut self.stopping, true) {
            return;
        }
        self.event(Event::StopRequested);
        if self.phase == Phase::Training {
            self.tell_all(WorkerState::Training, &ToWorker::Stop);
        }
    }

    pub(super) fn on_kill(&mut self) {
        self.tell_everybody(&ToWorker::Abort { cause: "killed by the user".to_owned() });
        self.end(Outcome::Killed);
    }
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
