//! Devices of jobs that were told to stop: another job's already, but not clear before the checkpoint is written.

use hcrun_protocol::time::Time;

use crate::fleet::NodeIndex;
use crate::free::{Allocation, Free};
use crate::job::JobIndex;

#[derive(Debug, Clone, Default)]
pub(super) struct Leaving(Vec<(Time, JobIndex, Allocation)>);

impl Leaving {
    pub(super) fn add(&mut self, until: Time, job: JobIndex, allocation: Allocation) {
        self.0.push((until, job, allocation));
        self.0.sort_by_key(|(until, job, _)| (*until, *job));
    }

    /// When `job` can begin on `allocation`: once its own last run is gone, and no more devices of a node are being
    /// left than are free beside it. `free` is what is free without the allocation.
    pub(super) fn clear(&mut self, now: Time, free: &Free, job: JobIndex, allocation: &Allocation) -> Time {
        self.0.retain(|(until, ..)| *until > now);
        let own = self.0.iter().filter(|(_, leaving, _)| *leaving == job).map(|(until, ..)| *until);
        let parts = allocation.parts().iter().map(|(node, _)| self.node_clear(now, free.on(*node), *node));
        own.chain(parts).max().unwrap_or(now)
    }

    fn node_clear(&self, now: Time, free: u32, node: NodeIndex) -> Time {
        let here = self.0.iter().flat_map(|(until, _, left)| {
            left.parts().iter().filter(move |part| part.0 == node).map(move |part| (*until, part.1))
        });
        let mut still: u32 = here.clone().map(|(_, devices)| devices).sum();
        let mut clear = now;
        for (until, devices) in here {
            if still <= free {
                break;
            }
            (still, clear) = (still - devices, until);
        }
        clear
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use hcrun_protocol::time::{Span, Time};

    use crate::fleet::NodeIndex;
    use crate::free::Allocation;
    use crate::job::{JobSpec, Workload};
    use crate::simulator::{Checks, simulate};
    use crate::state::{Past, Stop};
    use crate::{Fleet, State, Work, strategies};

    /// 4 devices; a long job of 3 is displaced by a short one of 2, a third of 1 fits beside either.
    #[test]
    fn a_job_waits_for_the_checkpoint_of_the_one_it_displaces() {
        let second = |n: u64| Span::from_secs(n);
        let job = |id: &str, at: u64, devices, runs| {
            let mut job = JobSpec::rigid(id, Time(at * 1_000_000), devices, second(runs));
            (job.start_overhead, job.stop_overhead) = (second(1), second(2));
            job
        };
        let jobs = vec![job("long", 0, 3, 100), job("beside", 1, 1, 5), job("short", 10, 2, 5)];
        let fleet = Arc::new(Fleet::flat(4).unwrap());
        let mut srtf = strategies::by_name("srtf").unwrap();
        let outcome = simulate(&fleet, Workload::new(jobs).unwrap(), &mut srtf, Checks::Everything).unwrap();
        let ends: Vec<u64> = outcome.jobs.iter().map(|job| job.end.unwrap().0 / 1_000_000).collect();
        // beside: 1 + 1 + 5. short: 10, one device is clear, the other at 12: 12 + 1 + 5. long: 9 s done by 10, and
        // again from 18 + 1 on.
        assert_eq!(ends, [110, 7, 18]);
        assert_eq!(outcome.jobs[2].first_start, Some(Time(10_000_000)));
    }

    #[test]
    fn a_job_that_moves_writes_its_checkpoint_first() {
        let fleet = Arc::new(Fleet::uniform(2, 1).unwrap());
        let mut state = State::new(fleet, Workload::default());
        let mut job = JobSpec::rigid("moves", Time::ZERO, 1, Span::from_secs(100));
        job.stop_overhead = Span::from_secs(2);
        let index = state.add(job, Past::default());
        let on = |node| Allocation::new([(NodeIndex(node), 1)]);
        state.start(index, on(0));
        state.advance(Time(10_000_000));
        state.stop(index, Stop::Moved);
        state.start(index, on(1));
        state.advance(Time(15_000_000));
        assert_eq!(state.job(index).done(state.now()), Work::taking(Span::from_secs(13)));
    }
}
