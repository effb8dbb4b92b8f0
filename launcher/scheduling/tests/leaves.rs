//! Jobs that their owners take out, waiting or running.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::sync::Arc;

use hcrun_protocol::time::{Span, Time};
use hcrun_scheduling::comparison::Figures;
use hcrun_scheduling::simulator::{self, Checks, Outcome};
use hcrun_scheduling::{Fleet, JobSpec, Workload, strategies};

fn seconds(seconds: u64) -> Time {
    Time(seconds * 1_000_000)
}

fn job(id: &str, submit: u64, leaves: Option<u64>) -> JobSpec {
    let mut job = JobSpec::rigid(id, seconds(submit), 1, Span::from_secs(100));
    job.leaves = leaves.map(seconds);
    job
}

fn simulate(jobs: Vec<JobSpec>, strategy: &str) -> Outcome {
    let fleet = Arc::new(Fleet::flat(1).unwrap());
    let mut strategy = strategies::by_name(strategy).unwrap();
    simulator::simulate(&fleet, Workload::new(jobs).unwrap(), &mut strategy, Checks::Everything).unwrap()
}

#[test]
fn a_job_that_leaves_gives_its_devices_to_the_next() {
    let jobs = vec![
        job("runs", 0, Some(10)),
        job("waits", 1, Some(5)),
        job("next", 2, None),
        job("at once", 3, Some(3)),
        job("too late", 4, Some(200)),
    ];
    for strategy in ["fifo-skip", "fifo-strict", "srtf", "classes"] {
        let outcome = simulate(jobs.clone(), strategy);
        let ends: Vec<Option<Time>> = outcome.jobs.iter().map(|job| job.end).collect();
        // The last one would be done at 210 s, and leaves before.
        assert_eq!(ends, [None, None, Some(seconds(110)), None, None], "{strategy}");
        assert_eq!(outcome.jobs[2].first_start, Some(seconds(10)), "{strategy}");
        assert_eq!(outcome.jobs[1].first_start, None, "{strategy}");
        // From the first to the last there is always one that runs.
        assert_eq!(
            (outcome.makespan, outcome.lasted),
            (Span::from_secs(110), Span::from_secs(200)),
            "{strategy}"
        );
        assert!((outcome.utilisation() - 1.0).abs() < 1e-9, "{strategy}: {}", outcome.utilisation());
        let figures = Figures::of(&outcome);
        assert_eq!((figures.jobs, figures.refused), (1, 0), "{strategy}");
    }
}

#[test]
fn who_is_done_before_has_nothing_to_leave() {
    let outcome = simulate(vec![job("done", 0, Some(100)), job("next", 0, None)], "fifo-skip");
    assert_eq!(outcome.jobs[0].end, Some(seconds(100)));
    assert_eq!(outcome.jobs[1].end, Some(seconds(200)));
}
