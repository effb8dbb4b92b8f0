//! From phase to phase: each is entered once every worker has arrived, and has its limit.

use super::{Coordinator, Event, FailureKind, Outcome, Output, Phase, Worker, WorkerState};
use crate::control::{MemberAddress, ToWorker};
use crate::ids::{Rank, Step};
use crate::time::{Span, Time};

impl Coordinator {
    /// Moves to the next phase once every worker has arrived there.
    pub(super) fn advance(&mut self, now: Time) {
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
            lanes: worker.lanes.clone(),
        };
        let members: Vec<_> = self.workers.iter().enumerate().map(address).collect();
        let groups = self.node_groups();
        for index in 0..self.workers.len() {
            let nodes = self.node_groups_for(Rank::from_index(index), &groups);
            let slot = self.settings.workers[index].slot.clone();
            self.send(slot, ToWorker::Form { generation, members: members.clone(), nodes });
        }
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

    pub(super) fn phase_limit(&self) -> Option<Span> {
        match self.phase {
            Phase::Gathering => Some(self.settings.join_within),
            Phase::Loading | Phase::Linking | Phase::Storing => Some(self.settings.prepare_within),
            Phase::Training | Phase::Ended => None,
        }
    }

    pub(super) fn phase_overdue(&mut self, now: Time, limit: Span) {
        let (wanted, what, kind) = match self.phase {
            Phase::Gathering => (WorkerState::Welcome, "did not join", FailureKind::NotJoined),
            Phase::Loading => (WorkerState::Loaded, "did not load its data", FailureKind::Overdue),
            Phase::Linking => (WorkerState::Linked, "did not link to the others", FailureKind::Overdue),
            _ => (WorkerState::Finished, "did not finish", FailureKind::Overdue),
        };
        let late = self.workers.iter().position(|worker| worker.state < wanted).map(Rank::from_index);
        self.suspect(now, late, kind, format!("{what} within {limit}"));
    }

    fn enter(&mut self, now: Time, phase: Phase) {
        self.phase = phase;
        self.phase_since = now;
    }
}
