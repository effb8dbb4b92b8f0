//! What a live queue needs beyond a rehearsal: jobs that come one by one, and ends that nobody computed before.

use hcrun_protocol::time::Time;

use super::{Change, Job, Phase, State};
use crate::job::{JobIndex, JobSpec};
use crate::work::Work;

/// What a job has behind it when it comes into the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Course {
    pub done: Work,
    /// Device microseconds held.
    pub attained: u128,
    pub preemptions: u32,
    pub first_start: Option<Time>,
}

impl State {
    /// Takes in a job, which waits from now on.
    pub fn add(&mut self, spec: JobSpec, course: Course) -> JobIndex {
        let index = JobIndex::from_index(self.jobs.len());
        let mut job = Job::new(spec);
        (job.done, job.resumed, job.attained) = (course.done, course.done, course.attained);
        (job.preemptions, job.first_start) = (course.preemptions, course.first_start);
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
                self.release(index, done, phase);
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
