//! One job run in several ways, and what its runs have in common.

use hcrun_engine::checkpoint;
use hcrun_tests::{Job, Lab, Run, lab};
use serde_json::Value;

/// A written job, to be run with settings laid over it.
pub(crate) struct Bench {
    pub(crate) lab: Lab,
}

impl Bench {
    pub(crate) fn new(mut job: Job) -> Bench {
        let lab = lab!();
        // Small data, dealt to many.
        job.head.push_str("policy = { min_rows = 10 }\n");
        job.write(&lab);
        // The owner agrees to few rows, and to single workers.
        lab.hcrun(["shard", "index", "job.toml", "--min-contributors", "1", "--min-rows", "10"]).succeed();
        Bench { lab }
    }

    /// Runs the job to its end with these settings.
    #[track_caller]
    pub(crate) fn run(&self, settings: &[&str]) -> Run {
        let mut args = vec!["run", "job.toml", "--quiet"];
        args.extend(settings.iter().flat_map(|setting| ["--set", *setting]));
        self.lab.hcrun(args).succeed();
        let run = self.lab.run();
        let summary = run.summary();
        assert_eq!(summary["status"], "done", "{settings:?}: {summary}");
        // A step is committed only if the digests of all ranks are equal.
        assert_eq!(summary["steps"].as_u64().unwrap(), run.steps(), "{settings:?}: {summary}");
        run
    }
}

/// Training losses in order of steps; of a step that was done twice the later one.
pub(crate) fn losses(run: &Run) -> Vec<f64> {
    let mut losses = Vec::new();
    for row in run.metrics().iter().filter(|row| row["kind"] == "step") {
        let step = usize::try_from(row["step"].as_u64().unwrap()).unwrap();
        losses.truncate(step - 1);
        assert_eq!(losses.len(), step - 1, "a step is missing before {row}");
        losses.push(row["loss"].as_f64().unwrap());
    }
    losses
}

pub(crate) fn digest(run: &Run) -> String {
    let digest = run.summary()["parameter_digest"].as_str().map(str::to_owned);
    digest.expect("a run that has applied a step has a digest")
}

/// The parameters in the newest checkpoint.
pub(crate) fn parameters(run: &Run) -> Vec<f32> {
    checkpoint::latest_good(&run.file("checkpoints")).unwrap().checkpoint.params
}

pub(crate) fn distance(left: &[f32], right: &[f32]) -> f64 {
    assert_eq!(left.len(), right.len());
    let squares = left.iter().zip(right).map(|(left, right)| (f64::from(*left) - f64::from(*right)).powi(2));
    squares.sum::<f64>().sqrt()
}

#[track_caller]
pub(crate) fn assert_close(left: &[f64], right: &[f64], tolerance: f64, what: &str) {
    assert_eq!(left.len(), right.len(), "{what}");
    for (step, (left, right)) in left.iter().zip(right).enumerate() {
        assert!((left - right).abs() <= tolerance, "{what}: step {}: {left} and {right}", step + 1);
    }
}

/// Bytes of all borders together by class.
pub(crate) fn classes(traffic: &Value) -> Vec<&str> {
    let borders = traffic.as_object().unwrap().values();
    let mut classes: Vec<&str> =
        borders.flat_map(|classes| classes.as_object().unwrap().keys().map(String::as_str)).collect();
    classes.sort_unstable();
    classes.dedup();
    classes
}
