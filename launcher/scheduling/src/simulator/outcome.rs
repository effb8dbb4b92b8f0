//! What came of a simulation.

use hcrun_protocol::time::{Span, Time};

use crate::fleet::ZoneIndex;
use crate::state::{Job, Phase, State};
use crate::work::Rate;

/// One job's course.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobOutcome {
    pub submit: Time,
    pub first_start: Option<Time>,
    /// None for a job that was taken out.
    pub end: Option<Time>,
    pub deadline: Option<Time>,
    /// Time alone on the devices it asked for.
    pub alone: Span,
    pub devices: u32,
    pub preemptions: u32,
    pub losses: u32,
    pub starts: u32,
    pub refused: bool,
}

impl JobOutcome {
    /// From submission to completion; none for a job that was refused.
    pub fn completion_time(&self) -> Option<Span> {
        self.end.filter(|_| !self.refused).map(|end| end.since(self.submit))
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// In the order of submission.
    pub jobs: Vec<JobOutcome>,
    /// To the last completion.
    pub makespan: Span,
    /// Until nobody was there any more: the last completion, or the last job that was taken out.
    pub lasted: Span,
    /// Device microseconds held.
    pub busy: u128,
    pub devices: u64,
    pub decisions: u64,
    /// Device microseconds to be paid for, by pool: for [`crate::costs::bill`].
    pub billed: Vec<u128>,
    /// Bytes that left a zone in a month, by month: for [`crate::costs::bill`]. None unless all jobs name their bytes.
    pub sent: Option<Vec<(ZoneIndex, u32, u64)>>,
    /// Starts of jobs where their data may not be, counted apart from the state that refuses them.
    pub violations: u64,
}

impl Outcome {
    pub(super) fn of(state: &State, busy: u128, decisions: u64, violations: u64) -> Outcome {
        let jobs = state.jobs().iter().map(|job| JobOutcome {
            submit: job.spec.submit,
            first_start: job.first_start,
            end: job.ended.filter(|_| !is_taken_out(job)),
            deadline: job.spec.deadline,
            alone: job.spec.work.time_at(Rate::ONE),
            devices: job.spec.devices.requested,
            preemptions: job.preemptions,
            losses: job.losses,
            starts: job.starts,
            refused: job.phase == Phase::Refused && !is_taken_out(job),
        });
        let jobs: Vec<JobOutcome> = jobs.collect();
        let ends = jobs.iter().filter(|job| !job.refused).filter_map(|job| job.end);
        let makespan = ends.max().unwrap_or(Time::ZERO).since(Time::ZERO);
        let there = state.jobs().iter().filter(|job| job.phase == Phase::Done || is_taken_out(job));
        let lasted = there.filter_map(|job| job.ended).max().unwrap_or(Time::ZERO).since(Time::ZERO);
        let billed = state.billed().to_vec();
        let sent = state.jobs().iter().all(|job| job.spec.names_bytes()).then(|| state.sent());
        Outcome {
            jobs,
            makespan,
            lasted,
            busy,
            devices: state.fleet.devices(),
            decisions,
            billed,
            sent,
            violations,
        }
    }

    /// Of completed jobs, shortest first.
    pub fn completion_times(&self) -> Vec<Span> {
        let mut times: Vec<Span> = self.jobs.iter().filter_map(JobOutcome::completion_time).collect();
        times.sort_unstable();
        times
    }

    pub fn preemptions(&self) -> u64 {
        self.jobs.iter().map(|job| u64::from(job.preemptions)).sum()
    }

    /// Device time held, of all there was while jobs were there.
    pub fn utilisation(&self) -> f64 {
        let all = u128::from(self.lasted.0) * u128::from(self.devices);
        if all == 0 { 0.0 } else { self.busy as f64 / all as f64 }
    }
}

fn is_taken_out(job: &Job) -> bool {
    job.phase == Phase::Refused && job.spec.leaves.is_some() && job.ended == job.spec.leaves
}
