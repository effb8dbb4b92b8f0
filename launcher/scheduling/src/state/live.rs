//! What a live queue needs beyond a rehearsal: jobs that come one by one, and ends that nobody computed before.

use hcrun_protocol::time::Time;

use super::{Change, Job, Phase, State};
use crate::job::{JobIndex, JobSpec};
use crate::work::Work;

/// What a job has behind it when it comes into the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Past {
    pub done: Work,
    /// Device microseconds held.
    pub attained: u128,
    pub preemptions: u32,
    pub first_start: Option<Time>,
}

impl State {
    /// Takes in a job, which waits from now on.
    pub fn add(&mut self, spec: JobSpec, past: Past) -> JobIndex {
        let index = JobIndex::from_index(self.jobs.len());
        let mut job = Job::new(spec);
        (job.done, job.resumed, job.attained) = (past.done, past.done, past.attained);
        (job.preemptions, job.first_start) = (past.preemptions, past.first_start);
        self.jobs.push(job);
        self.submit(index);
        index
    }

    /// A job has come to its end by itself, also one that was just told to stop: all its work was what is done by now.
    pub fn finish(&mut self, index: JobIndex) {
        let now = self.now;
        let job = &mut self.jobs[index.index()];
        job.spec.work = job.done(now);
        self.leave(index, Phase::Done);
    }

    /// A waiting or running job is taken out for good, however far it has come.
    pub fn withdraw(&mut self, index: JobIndex) {
        self.leave(index, Phase::Refused);
    }

    fn leave(&mut self, index: JobIndex, phase: Phase) {
        let now = self.now;
        let job = &mut self.jobs[index.index()];
        match job.phase {
            Phase::Running => {
                let done = job.done(now);
                self.release(index, done, phase, None);
            }
            Phase::Waiting => {
                job.phase = phase;
                self.waiting -= 1;
                self.changes.push(Change { job: index, phase });
            }
            Phase::Future | Phase::Done | Phase::Refused => panic!("only a job that is there can leave"),
        }
        self.jobs[index.index()].ended = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use hcrun_protocol::time::{Span, Time};

    use super::*;
    use crate::free::Allocation;
    use crate::job::Workload;
    use crate::state::Stop;
    use crate::{Fleet, strategies};

    fn state() -> State {
        State::new(Arc::new(Fleet::flat(4).unwrap()), Workload::default())
    }

    fn job(devices: u32) -> JobSpec {
        JobSpec { work: Work(u128::MAX), ..JobSpec::rigid("job", Time::ZERO, devices, Span::from_secs(9)) }
    }

    #[test]
    fn a_job_comes_with_what_it_has_behind_it_and_ends_when_it_says_so() {
        let mut state = state();
        state.advance(Time(100));
        let past = Past { done: Work::taking(Span(7)), attained: 30, ..Past::default() };
        let index = state.add(job(2), past);
        let node = state.fleet.nodes_of(state.fleet.pool_indices().next().unwrap()).next().unwrap();
        state.start(index, Allocation::new([(node, 2)]));
        state.advance(Time(110));
        assert_eq!(state.job(index).done(state.now()), Work::taking(Span(17)));
        assert_eq!(state.job(index).attained(state.now()), 50);
        state.finish(index);
        state.check();
        assert_eq!((state.job(index).phase, state.used()), (Phase::Done, 0));
        assert_eq!(state.job(index).spec.work, Work::taking(Span(17)));
    }

    #[test]
    fn a_job_that_was_told_to_stop_may_be_done_or_withdrawn() {
        let mut state = state();
        let mut strategy = strategies::by_name("fifo-skip").unwrap();
        let jobs = [3, 4, 4].map(|devices| state.add(job(devices), Past::default()));
        let node = state.fleet.nodes_of(state.fleet.pool_indices().next().unwrap()).next().unwrap();
        state.start(jobs[0], Allocation::new([(node, 3)]));
        state.advance(Time(10));
        state.stop(jobs[0], Stop::Preempted);
        state.finish(jobs[0]);
        state.withdraw(jobs[1]);
        state.check();
        assert_eq!((state.waiting_count(), state.running_count()), (1, 0));
        // The strategy has heard of both.
        let decided = strategy.decide(&state);
        assert_eq!(decided.iter().map(|decision| decision.job).collect::<Vec<_>>(), [jobs[2]]);
    }
}
