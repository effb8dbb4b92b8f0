//! The figures of one simulation.

use hcrun_protocol::time::Span;
use serde::Serialize;

use super::fairness;
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
        let times = outcome.completion_times();
        let jobs = times.len();
        let mean = |sum: f64| if jobs == 0 { 0.0 } else { sum / jobs as f64 };
        let at = |index: usize| times.get(index).map_or(0.0, |time| time.as_secs_f64());
        let waits = outcome.jobs.iter().filter(|job| !job.refused).filter_map(wait);
        let fairness = fairness::ratios(outcome);
        let unfair = fairness.iter().filter(|ratio| **ratio > fairness::UNFAIR).count();
        Figures {
            jobs,
            refused: outcome.jobs.iter().filter(|job| job.refused).count(),
            avg_jct_s: mean(times.iter().map(|time| time.as_secs_f64()).sum()),
            p50_jct_s: at(jobs / 2),
            p99_jct_s: at(jobs * 99 / 100),
            makespan_s: outcome.makespan.as_secs_f64(),
            avg_queue_s: mean(waits.map(Span::as_secs_f64).sum()),
            utilisation: outcome.utilisation(),
            worst_fairness: fairness.iter().copied().fold(0.0, f64::max),
            unfair_share: mean(unfair as f64),
            deadlines_met: deadlines_met(outcome),
            preemptions: outcome.preemptions(),
            restarts: outcome.jobs.iter().map(|job| u64::from(job.starts.saturating_sub(1))).sum(),
            losses: outcome.jobs.iter().map(|job| u64::from(job.losses)).sum(),
            violations: outcome.violations,
            decisions: outcome.decisions,
        }
    }
}

fn wait(job: &JobOutcome) -> Option<Span> {
    job.first_start.map(|start| start.since(job.submit))
}

fn deadlines_met(outcome: &Outcome) -> Option<f64> {
    let with: Vec<&JobOutcome> = outcome.jobs.iter().filter(|job| job.deadline.is_some()).collect();
    let met = with.iter().filter(|job| !job.refused && job.end <= job.deadline && job.end.is_some()).count();
    (!with.is_empty()).then(|| met as f64 / with.len() as f64)
}
