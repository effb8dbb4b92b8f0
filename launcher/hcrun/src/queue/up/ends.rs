//! What follows from the end of a process, and how the queue itself ends.

use std::process::ExitStatus;
use std::time::Duration;

use hcrun_protocol::time::Span;
use hcrun_scheduling::JobIndex;
use tokio::sync::mpsc::UnboundedReceiver;

use super::{Asked, Up, is_in};
use crate::codes::Exit;
use crate::failure::Result;
use crate::queue::store::{Ending, JobState};
use crate::queue::{child, course};

/// A run that lasted this long begins to count its failures anew.
const HEALTHY: Span = Span::from_secs(60);
/// Retries after failures of the infrastructure.
const MAX_FAILURES: u32 = 3;
/// Before the first retry; twice as long before each further one.
const BACKOFF: Span = Span::from_secs(1);
/// How long jobs may take for their checkpoints when the queue itself has failed.
const LEAVE: Duration = Duration::from_secs(120);

impl Up<'_> {
    pub(super) fn on_exit(&mut self, index: JobIndex, status: ExitStatus) -> Result<()> {
        let now = self.state.now();
        let Some(job) = self.jobs.get_mut(&index) else { return Ok(()) };
        let Some(process) = job.process.take() else { return Ok(()) };
        let (id, asked, given) = (job.id, job.asked.take(), job.given.is_some());
        self.held.give_back(&self.state.fleet, &process.allocation);
        let run = child::run(self.queue, id);
        let ready = run.as_ref().and_then(|run| course::ready(run, process.events_from));
        let code = status.code();
        // Without a code it was ended by a signal, as when the system takes memory back.
        let unlucky = code.is_none_or(child::is_unlucky);
        let done = run.as_ref().is_some_and(child::is_done);
        let stopped = code == Some(0) && run.as_ref().is_some_and(child::was_stopped);
        let ending = match asked {
            _ if done => Ending::Done,
            Some(_) if unlucky || stopped => Ending::Stopped,
            _ => Ending::Failed,
        };
        self.store.end_run(process.run, ready, now, ending)?;
        if let Some(run) = self.store.runs(id)?.last() {
            self.costs.learn(&course::measured(std::slice::from_ref(run)));
        }
        match (ending, asked) {
            (Ending::Done, _) => {
                self.pending.retain(|pending| *pending != index);
                if is_in(&self.state, index) {
                    self.state.finish(index);
                }
                self.close(index, JobState::Done, Some(0), "done")
            }
            (Ending::Stopped, Some(Asked::Cancelled)) => {
                self.close(index, JobState::Cancelled, code, "cancelled")
            }
            (Ending::Stopped, Some(Asked::Ending)) => {
                self.store.set_state(id, JobState::Waiting, now, "the queue is not up")
            }
            (Ending::Stopped, _) => {
                let reason = if given { "it goes on elsewhere" } else { "it gave its devices back" };
                self.store.set_state(id, JobState::Waiting, now, reason)
            }
            _ if stopped => {
                self.leave(index);
                self.close(index, JobState::Cancelled, code, "its run was stopped by hand")
            }
            _ => {
                let why = child::failure(self.queue, id, process.child.log_from);
                let why = match process.goes_on && ready.is_none() {
                    true => format!("it cannot go on from its last checkpoint: {why}"),
                    false => why,
                };
                self.on_failure(index, code, unlucky, &why)
            }
        }
    }

    fn on_failure(&mut self, index: JobIndex, code: Option<i32>, unlucky: bool, why: &str) -> Result<()> {
        if unlucky {
            return self.infrastructure_failed(index, code, why);
        }
        self.leave(index);
        if code != Some(Exit::Infeasible.code().into()) {
            return self.close(index, JobState::Failed, code, why);
        }
        let Some(job) = self.jobs.remove(&index) else { return Ok(()) };
        self.store.set_state(job.id, JobState::Waiting, self.state.now(), why)?;
        self.set_aside(job.id, &job.name, why)
    }

    /// Tries again after a while, a few times.
    pub(super) fn infrastructure_failed(
        &mut self,
        index: JobIndex,
        code: Option<i32>,
        why: &str,
    ) -> Result<()> {
        let (now, held) = (self.state.now(), self.state.job(index).since);
        self.leave(index);
        let Some(job) = self.jobs.get(&index) else { return Ok(()) };
        // One that went on for a while is not what failed before.
        let before = if now.since(held) >= HEALTHY { 0 } else { job.failures };
        let (id, failures) = (job.id, before + 1);
        self.store.set_failures(id, failures)?;
        if failures > MAX_FAILURES {
            let why = format!("{why} (tried {} times)", MAX_FAILURES + 1);
            return self.close(index, JobState::Failed, code, &why);
        }
        let backoff = BACKOFF.saturating_mul(1 << (failures - 1));
        let reason = format!("{why}; retry {failures} of {MAX_FAILURES} in {} s", backoff.0 / 1_000_000);
        self.output.note(&format!("job {id} ({}): {reason}", job.name));
        self.store.set_state(id, JobState::Waiting, now, &reason)?;
        self.jobs.remove(&index);
        self.later.push((now + backoff, id));
        Ok(())
    }

    /// Takes a job out of the state, if it is still in it.
    fn leave(&mut self, index: JobIndex) {
        self.pending.retain(|pending| *pending != index);
        if is_in(&self.state, index) {
            self.state.withdraw(index);
        }
    }

    /// A job is at its end for good.
    pub(super) fn close(
        &mut self,
        index: JobIndex,
        state: JobState,
        code: Option<i32>,
        reason: &str,
    ) -> Result<()> {
        let Some(job) = self.jobs.remove(&index) else { return Ok(()) };
        self.output.note(&format!("job {} ({}): {}", job.id, job.name, state.because(reason)));
        self.store.set_end(job.id, state, self.state.now(), code, reason)
    }

    /// Stops all with checkpoints; asked again, at once.
    pub(super) fn end(&mut self) -> Result<()> {
        self.state.advance(self.clock.now());
        if std::mem::replace(&mut self.ending, true) {
            self.jobs
                .values()
                .filter_map(|job| job.process.as_ref())
                .for_each(|process| child::kill(process.child.pid));
            return Ok(());
        }
        self.output.note("stopping all jobs with checkpoints; once more ends them at once");
        let running: Vec<JobIndex> = self.jobs.keys().copied().collect();
        for index in running {
            // A cancelled job stays so.
            if self.jobs.get(&index).is_some_and(|job| job.asked != Some(Asked::Cancelled)) {
                self.ask_to_stop(index, Asked::Ending, "the queue ends")?;
            }
        }
        Ok(())
    }

    /// Nothing can be written down any more: jobs write their checkpoints, and whoever comes up next finds them.
    pub(super) async fn leave_all(&mut self, exits: &mut UnboundedReceiver<(JobIndex, ExitStatus)>) {
        let processes =
            self.jobs.values().filter_map(|job| job.process.as_ref().filter(|_| job.asked.is_none()));
        processes.for_each(|process| child::ask_to_stop(process.child.pid));
        let mut running = self.jobs.values().filter(|job| job.process.is_some()).count();
        while running > 0 {
            match tokio::time::timeout(LEAVE, exits.recv()).await {
                Ok(Some(_)) => running -= 1,
                _ => return,
            }
        }
    }
}
