//! A run that is under way, and the moment at which something befalls it.

use std::time::{Duration, Instant};

use hcrun_engine::checkpoint;
use hcrun_tests::{Ended, Holdings, Job, Lab, Run, Started, until};

/// When it happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    /// As soon as there are processes.
    Start,
    /// Once all have joined and before the first step, as far as that can be met from outside.
    Joined,
    /// Between two steps, or within one.
    Step,
    /// While state travels or is written: there is a checkpoint at every step.
    Checkpoint,
}

pub(crate) struct Scene {
    pub(crate) lab: Lab,
    pub(crate) launcher: Started,
    pub(crate) run: Run,
    pub(crate) held: Holdings,
    detect_within: Duration,
}

/// A machine that is busy with other tests wakes a process late.
const MARGIN: Duration = Duration::from_secs(2);

impl Scene {
    /// Starts a run without an end and waits for the moment.
    #[track_caller]
    pub(crate) fn at(lab: Lab, moment: Moment, detect_within_s: u64) -> Scene {
        let every = if moment == Moment::Checkpoint { 1 } else { 0 };
        let job = Job::tables()
            .train(&format!("steps = 100000000\ncheckpoint_every = {every}"))
            .exchange(&format!("detect_within_s = {detect_within_s}"));
        Scene::of(lab, &job, moment, detect_within_s)
    }

    #[track_caller]
    pub(crate) fn of(lab: Lab, job: &Job, moment: Moment, detect_within_s: u64) -> Scene {
        job.write(&lab);
        let mut launcher = lab.hcrun(["run", "job.toml"]).start();
        let run = launcher.run();
        match moment {
            Moment::Start => drop(run.worker("public-1")),
            Moment::Joined => until("all to join", 10 * MARGIN, || {
                launcher.assert_alive();
                let joined = run.events().iter().filter(|event| event["event"] == "joined").count();
                (joined == 4).then_some(())
            }),
            Moment::Step => run.wait_steps(&mut launcher, 5),
            Moment::Checkpoint => drop(run.wait_event(&mut launcher, "checkpoint")),
        }
        let held = run.holdings(launcher.process());
        Scene { lab, launcher, run, held, detect_within: Duration::from_secs(detect_within_s) }
    }

    /// Waits for the end of the run, which must come in time after `since`.
    #[track_caller]
    pub(crate) fn end(self, since: Instant) -> (Aftermath, Ended) {
        let ended = self.launcher.end_within(self.detect_within + 10 * MARGIN);
        let took = since.elapsed();
        println!(
            "ended {:.2} s after it happened, the limit is {:?}",
            took.as_secs_f64(),
            self.detect_within
        );
        assert!(took < self.detect_within + MARGIN, "took {took:?}: {ended}");
        (Aftermath { lab: self.lab, run: self.run, held: self.held }, ended)
    }
}

/// After the end.
pub(crate) struct Aftermath {
    pub(crate) lab: Lab,
    pub(crate) run: Run,
    held: Holdings,
}

impl Aftermath {
    pub(crate) fn leftovers(&self) -> Vec<String> {
        self.run.leftovers(&self.held)
    }

    #[track_caller]
    pub(crate) fn assert_nothing_is_left(&self) {
        assert_eq!(self.leftovers(), Vec::<String>::new());
    }

    /// The updates in the newest checkpoint; none where none was written. Whatever is there must load.
    #[track_caller]
    pub(crate) fn checkpoint(&self) -> Option<u64> {
        match checkpoint::latest_good(&self.run.file("checkpoints")) {
            Ok(found) => {
                assert!(found.skipped.is_empty(), "{:?}", found.skipped);
                Some(found.checkpoint.meta.step.0)
            }
            Err(checkpoint::LoadError::None { .. }) => None,
            Err(error) => panic!("{error}"),
        }
    }

    /// What was to be found in the run's checkpoints after an end at this moment.
    #[track_caller]
    pub(crate) fn assert_checkpoint(&self, moment: Moment) {
        assert_eq!(self.checkpoint().is_some(), moment == Moment::Checkpoint);
    }

    /// The summary is there and says the same as the command.
    #[track_caller]
    pub(crate) fn assert_failed(&self, ended: &Ended) {
        assert_eq!(ended.code(), Some(75), "{ended}");
        let summary = self.run.summary();
        assert_eq!(summary["status"], "failed");
        assert_eq!(summary["exit_code"], 75);
    }
}

/// The digest of a job's parameters when nothing befalls it.
#[track_caller]
pub(crate) fn undisturbed(lab: &Lab, job: &Job) -> serde_json::Value {
    job.write(lab);
    lab.hcrun(["run", "job.toml"]).succeed();
    lab.run().summary()["parameter_digest"].clone()
}

/// Waits until none of the run's processes but a stopped launcher lives.
#[track_caller]
pub(crate) fn until_workers_are_gone(run: &Run, within: Duration) {
    until("the end of all workers", within, || run.workers().is_empty().then_some(()));
}
