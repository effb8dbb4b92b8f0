//! A queue with its jobs, and the process that runs it.

use std::time::Duration;

use hcrun_tests::{Ended, Job, Lab, Run, Started, lab, until};
use serde_json::Value;

/// Longer than a few small jobs take on a loaded machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// Two slots in each pool, so that one job of two private and two public workers runs at a time.
const CLUSTER: &str = r#"
[[zone]]
name = "private"
trust = "private"
owner = "us"
[[zone]]
name = "public"
trust = "public"
owner = "cloud"
[[pool]]
name = "private"
zone = "private"
slots = 2
[[pool]]
name = "public"
zone = "public"
slots = 2
"#;

pub(crate) struct Scene {
    pub(crate) lab: Lab,
}

impl Scene {
    pub(crate) fn new() -> Scene {
        let lab = lab!();
        lab.write("cluster.toml", CLUSTER);
        Job::tables().train("steps = 3\ncheckpoint_every = 20").write(&lab);
        Scene { lab }
    }

    /// Submits the job with these flags; its id.
    #[track_caller]
    pub(crate) fn submit(&self, flags: &[&str]) -> i64 {
        let args = ["submit", "job.toml", "--json"].iter().chain(flags);
        self.lab.hcrun(args).succeed().json()["data"]["job"].as_i64().unwrap()
    }

    /// Submits a job of so many steps.
    #[track_caller]
    pub(crate) fn submit_steps(&self, steps: u64, flags: &[&str]) -> i64 {
        let steps = format!("train.steps={steps}");
        self.submit(&[&["--set", &steps], flags].concat())
    }

    /// The process that runs the queue, until it is told to end.
    pub(crate) fn up(&self, flags: &[&str]) -> Started {
        self.lab.hcrun(["up", "--cluster", "cluster.toml"].iter().chain(flags)).start()
    }

    /// Runs the queue until nothing is left.
    #[track_caller]
    pub(crate) fn up_until_idle(&self, strategy: &str) -> Ended {
        let ended = self.up(&["--until-idle", "--strategy", strategy]).end_within(LIMIT);
        assert!(ended.status.success(), "{ended}");
        ended
    }

    #[track_caller]
    pub(crate) fn ps(&self) -> Value {
        self.lab.hcrun(["ps", "--json"]).succeed().json()["data"].take()
    }

    #[track_caller]
    pub(crate) fn job(&self, id: i64) -> Value {
        let jobs = self.ps()["jobs"].take();
        let jobs = jobs.as_array().unwrap();
        jobs.iter().find(|job| job["id"] == id).unwrap_or_else(|| panic!("no job {id}: {jobs:?}")).clone()
    }

    /// Waits until a job is in this state.
    #[track_caller]
    pub(crate) fn wait_state(&self, up: &mut Started, id: i64, state: &str) -> Value {
        until(&format!("job {id} to be {state}"), LIMIT, || {
            up.assert_alive();
            Some(self.job(id)).filter(|job| job["state"] == state)
        })
    }

    /// The run of a job, once it has one.
    #[track_caller]
    pub(crate) fn run(&self, up: &mut Started, id: i64) -> Run {
        let latest = self.lab.path().join(format!("queue/runs/{id}/latest"));
        Run::new(until(&format!("a run of job {id}"), LIMIT, || {
            up.assert_alive();
            std::fs::canonicalize(&latest).ok()
        }))
    }

    /// The run of a job that has ended.
    #[track_caller]
    pub(crate) fn ended_run(&self, id: i64) -> Run {
        let latest = self.lab.path().join(format!("queue/runs/{id}/latest"));
        Run::new(std::fs::canonicalize(latest).unwrap())
    }

    /// Run directories of a job.
    pub(crate) fn run_count(&self, id: i64) -> usize {
        let entries = std::fs::read_dir(self.lab.path().join(format!("queue/runs/{id}"))).unwrap();
        entries.flatten().filter(|entry| entry.file_type().unwrap().is_dir()).count()
    }

    /// What the parameters are after so many steps that nobody disturbs.
    #[track_caller]
    pub(crate) fn undisturbed(&self, steps: u64) -> Value {
        let steps = format!("train.steps={steps}");
        self.lab.hcrun(["run", "job.toml", "--quiet", "--set", &steps]).succeed();
        self.lab.run().summary()["parameter_digest"].clone()
    }

    #[track_caller]
    pub(crate) fn assert_done(&self, id: i64, digest: &Value) {
        let job = self.job(id);
        assert_eq!(job["state"], "done", "{job}");
        assert_eq!(&self.ended_run(id).summary()["parameter_digest"], digest);
        assert_eq!(self.run_count(id), 1, "one run that goes on, not several");
    }

    /// The columns of the recorded trace by job.
    #[track_caller]
    pub(crate) fn record(&self) -> Vec<std::collections::BTreeMap<String, String>> {
        self.lab.hcrun(["record", "--out", "trace.csv"]).succeed();
        let text = std::fs::read_to_string(self.lab.path().join("trace.csv")).unwrap();
        let mut lines = text.lines().map(|line| line.split(',').map(str::to_owned));
        let header: Vec<String> = lines.next().unwrap().collect();
        lines.map(|fields| header.iter().cloned().zip(fields).collect()).collect()
    }
}
