//! Finish-time fairness: how long a job took, relative to a fair share of the fleet.
//!
//! ratio = completion time / (time alone on its devices x contention), where contention is the number of devices that
//! active jobs asked for, averaged over the job's life, per device of the fleet, and at least 1.

use crate::simulator::Outcome;

/// Above this a job counts as treated unfairly.
pub(super) const UNFAIR: f64 = 1.05;

/// One ratio per completed job that had something to do.
pub(super) fn ratios(outcome: &Outcome) -> Vec<f64> {
    let demand = Demand::of(outcome);
    let devices = outcome.devices as f64;
    let done = outcome.jobs.iter().filter(|job| !job.refused);
    let ratios = done.filter_map(|job| {
        let (from, to) = (job.submit.0, job.end?.0);
        if job.alone.0 == 0 || to <= from {
            return None;
        }
        let life = (to - from) as f64;
        let contention = ((demand.until(to) - demand.until(from)) / life / devices).max(1.0);
        Some(life / (job.alone.0 as f64 * contention))
    });
    ratios.collect()
}

/// The devices that active jobs asked for, as a step function with its integral.
struct Demand {
    /// (moment, level from then on, integral until then)
    steps: Vec<(u64, f64, f64)>,
}

impl Demand {
    fn of(outcome: &Outcome) -> Demand {
        let mut changes: Vec<(u64, f64)> = Vec::with_capacity(outcome.jobs.len() * 2);
        for job in outcome.jobs.iter().filter(|job| !job.refused) {
            if let Some(end) = job.end {
                changes.push((job.submit.0, f64::from(job.devices)));
                changes.push((end.0, -f64::from(job.devices)));
            }
        }
        changes.sort_by_key(|change| change.0);
        let (mut level, mut integral, mut last) = (0.0, 0.0, 0);
        let mut steps = Vec::with_capacity(changes.len());
        for (at, change) in changes {
            integral += level * (at - last) as f64;
            level += change;
            last = at;
            steps.push((at, level, integral));
        }
        Demand { steps }
    }

    /// Device time asked for until `at`.
    fn until(&self, at: u64) -> f64 {
        let after = self.steps.partition_point(|step| step.0 <= at);
        let step = after.checked_sub(1).and_then(|index| self.steps.get(index));
        step.map_or(0.0, |(from, level, integral)| integral + level * (at - from) as f64)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use hcrun_protocol::time::{Span, Time};

    use super::*;
    use crate::job::{JobSpec, Workload};
    use crate::simulator::{Checks, simulate};
    use crate::{Fleet, strategies};

    #[test]
    fn a_job_alone_is_treated_fairly_and_one_that_waits_for_a_long_one_is_not() {
        let job = |id: &str, secs| JobSpec::rigid(id, Time::ZERO, 4, Span::from_secs(secs));
        let ratios_of = |jobs| {
            let fleet = Arc::new(Fleet::flat(4).unwrap());
            let mut strategy = strategies::by_name("fifo-strict").unwrap();
            ratios(
                &simulate(&fleet, Workload::new(jobs).unwrap(), &mut strategy, Checks::Everything).unwrap(),
            )
        };
        assert_eq!(ratios_of(vec![job("a", 10)]), [1.0]);
        // Both ask for the whole fleet, so a fair share of it takes twice as long while both are there.
        let ratios = ratios_of(vec![job("long", 90), job("short", 10)]);
        assert_eq!(ratios, [90.0 / (90.0 * 2.0), 100.0 / (10.0 * 1.9)]);
    }
}
