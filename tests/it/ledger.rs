//! What crosses a border is what the plan says, to the byte.

use std::path::{Path, PathBuf};

use hcrun_tests::{Lab, lab};
use serde_json::Value;

use crate::curves::classes;

/// Ten steps, evaluations and checkpoints that do not fall together.
const SHORT: [&str; 4] =
    ["train.steps=10", "train.evaluate_every=4", "train.checkpoint_every=3", "train.warmup_steps=0"];

#[test]
fn examples_send_what_their_plans_say() {
    for example in ["hospital", "factory", "gpt"] {
        let summary = as_planned(example, &[]);
        assert!(!summary["egress_bytes"].as_object().unwrap().is_empty(), "{summary}");
    }
}

#[test]
fn a_job_of_one_zone_sends_nothing_across() {
    let summary = as_planned("bank", &[]);
    assert_eq!(summary["egress_bytes"], serde_json::json!({}));
}

/// Headers are bytes too: many small frames, and every rank receiving all gradients.
#[test]
fn frames_are_counted_whatever_their_size() {
    let small = ["exchange.bucket_bytes=\"64KiB\"", "exchange.segment_bytes=\"4KiB\""];
    as_planned("gpt", &[small[0], small[1], "train.steps=3"]);
    as_planned("gpt", &[small[0], small[1], "train.steps=3", "exchange.sharded=false"]);
    as_planned("factory", &["exchange.sharded=false", "workers.public=3"]);
}

/// Runs an example for a few steps; returns its summary.
#[track_caller]
fn as_planned(example: &str, settings: &[&str]) -> Value {
    let lab = lab!();
    let planned = call(&lab, &["plan", "--json"], example, settings);
    let summary = call(&lab, &["run", "--json"], example, settings);
    assert_eq!(summary["egress_bytes"], planned["total_bytes"], "{example} {settings:?}");
    assert_eq!(summary["planned_egress_bytes"], planned["total_bytes"], "{example} {settings:?}");
    // Sums alone: neither gradients of single workers nor parameters cross while training.
    for class in classes(&summary["egress_bytes"]) {
        assert!(["gradient-sum", "metrics", "statistics"].contains(&class), "{example}: {class} crossed");
    }
    summary
}

fn call(lab: &Lab, verb: &[&str], example: &str, settings: &[&str]) -> Value {
    let job = example_job(example);
    let mut args: Vec<&str> = verb.to_vec();
    args.push(job.to_str().unwrap());
    args.extend(SHORT.iter().chain(settings).flat_map(|setting| ["--set", *setting]));
    lab.hcrun(args).succeed().json()["data"].clone()
}

fn example_job(example: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples").join(example).join("job.toml")
}
