//! The figures of one simulation.

use serde::Serialize;

use super::fairness;
use super::times::Times;
use crate::simulator::{JobOutcome, Outcome};

/// What a table shows of one strategy. Times are seconds from the first submission.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figures {
    /// Completed.
    pub jobs: usize,
    /// Not admitted, since they could never run.
    pub refused: usize,
    /// From submission to completion.
    pub avg_jct_s: f64,
    pub p50_jct_s: f64,
    pub p99_jct_s: f64,
    pub makespan_s: f64,
    /// From submission to the first start.
    pub avg_queue_s: f64,
    /// Device time held, of all until the last job was gone.
    pub utilisation: f64,
    /// Largest completion time, relative to a fair share of the fleet.
    pub worst_fairness: f64,
    /// Share of jobs that took over 1.05 times as long as with a fair share.
    pub unfair_share: f64,
    /// Of the jobs with a deadline; none if no job has one.
    pub deadlines_met: Option<f64>,
    pub preemptions: u64,
    /// Starts after the first.
    pub restarts: u64,
    /// Nodes lost under a job.
    pub losses: u64,
    /// Jobs that were where they may not be.
    pub violations: u64,
    pub decisions: u64,
}

impl Figures {
    pub fn of(outcome: &Outcome) -> Figures {
        let Times { jobs, avg_jct_s, p50_jct_s, p99_jct_s, avg_queue_s } =
            Times::of(super::job_times(outcome).into_iter().flatten());
        let fairness = fairness::ratios(outcome);
        let unfair = fairness.iter().filter(|ratio| **ratio > fairness::UNFAIR).count();
        Figures {
            jobs,
            refused: outcome.jobs.iter().filter(|job| job.refused).count(),
            avg_jct_s,
            p50_jct_s,
            p99_jct_s,
            makespan_s: outcome.makespan.as_secs_f64(),
            avg_queue_s,
            utilisation: outcome.utilisation(),
            worst_fairness: fairness.iter().copied().fold(0.0, f64::max),
            unfair_share: if jobs == 0 { 0.0 } else { unfair as f64 / jobs as f64 },
            deadlines_met: deadlines_met(outcome),
            preemptions: outcome.preemptions(),
            restarts: outcome.jobs.iter().map(|job| u64::from(job.starts.saturating_sub(1))).sum(),
            losses: outcome.jobs.iter().map(|job| u64::from(job.losses)).sum(),
            violations: outcome.violations,
            decisions: outcome.decisions,
        }
    }
}

fn deadlines_met(outcome: &Outcome) -> Option<f64> {
    let with: Vec<&JobOutcome> = outcome.jobs.iter().filter(|job| job.deadline.is_some()).collect();
    let met = with.iter().filter(|job| !job.refused && job.end <= job.deadline && job.end.is_some()).count();
    (!with.is_empty()).then(|| met as f64 / with.len() as f64)
}
