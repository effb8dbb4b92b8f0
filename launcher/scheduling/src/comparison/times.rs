//! What jobs took, of one strategy and of two beside each other.

use hcrun_protocol::time::Span;

use crate::simulator::Outcome;

/// Of one job that was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JobTimes {
    /// From submission to completion.
    pub jct: Span,
    /// From submission to the first start.
    pub queued: Span,
}

/// In the order of submission; none for a job that was refused.
pub fn job_times(outcome: &Outcome) -> Vec<Option<JobTimes>> {
    let times = outcome.jobs.iter().map(|job| {
        let queued = job.first_start.map_or(Span(0), |start| start.since(job.submit));
        job.completion_time().map(|jct| JobTimes { jct, queued })
    });
    times.collect()
}

/// Figures of some jobs, in seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Times {
    pub(super) jobs: usize,
    pub(super) avg_jct_s: f64,
    pub(super) p50_jct_s: f64,
    pub(super) p99_jct_s: f64,
    pub(super) avg_queue_s: f64,
}

impl Times {
    pub(super) fn of(done: impl Iterator<Item = JobTimes>) -> Times {
        let (mut jcts, mut queued) = (Vec::new(), 0.0);
        for JobTimes { jct, queued: waited } in done {
            jcts.push(jct);
            queued += waited.as_secs_f64();
        }
        jcts.sort_unstable();
        let jobs = jcts.len();
        let mean = |sum: f64| if jobs == 0 { 0.0 } else { sum / jobs as f64 };
        let at = |index: usize| jcts.get(index).map_or(0.0, |time| time.as_secs_f64());
        Times {
            jobs,
            avg_jct_s: mean(jcts.iter().map(|jct| jct.as_secs_f64()).sum()),
            p50_jct_s: at(jobs / 2),
            p99_jct_s: at(jobs * 99 / 100),
            avg_queue_s: mean(queued),
        }
    }
}

/// How much longer jobs took than under another strategy, over those alone that both finished: a strategy that refuses
/// the long ones is not the faster for it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Beside {
    /// That both finished.
    pub jobs: usize,
    pub avg_jct_s: f64,
    pub p50_jct_s: f64,
    pub p99_jct_s: f64,
    pub avg_queue_s: f64,
}

/// Both of the same workload; none if no job was finished by both.
pub fn beside(times: &[Option<JobTimes>], base: &[Option<JobTimes>]) -> Option<Beside> {
    let both: Vec<(JobTimes, JobTimes)> =
        times.iter().zip(base).filter_map(|(job, base)| Some(((*job)?, (*base)?))).collect();
    let (ours, theirs) =
        (Times::of(both.iter().map(|pair| pair.0)), Times::of(both.iter().map(|pair| pair.1)));
    (!both.is_empty()).then_some(Beside {
        jobs: both.len(),
        avg_jct_s: ours.avg_jct_s - theirs.avg_jct_s,
        p50_jct_s: ours.p50_jct_s - theirs.p50_jct_s,
        p99_jct_s: ours.p99_jct_s - theirs.p99_jct_s,
        avg_queue_s: ours.avg_queue_s - theirs.avg_queue_s,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn done(jct: u64) -> Option<JobTimes> {
        Some(JobTimes { jct: Span::from_secs(jct), queued: Span::from_secs(jct / 10) })
    }

    /// The first strategy is slower on each job that both finish; it looks faster since it refuses the long one.
    #[test]
    fn refusing_long_jobs_is_no_gain() {
        let (ours, base) = ([done(20), done(40), None], [done(10), done(30), done(1_000)]);
        let mean = |times: &[Option<JobTimes>]| Times::of(times.iter().copied().flatten()).avg_jct_s;
        assert!(mean(&ours) < mean(&base));
        let beside = beside(&ours, &base).unwrap();
        assert_eq!((beside.jobs, beside.avg_jct_s, beside.avg_queue_s), (2, 10.0, 1.0));
        assert_eq!(super::beside(&[None, done(1)], &[done(1), None]), None);
    }
}
