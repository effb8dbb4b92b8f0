//! A worker that is killed or stands still.

use std::time::Instant;

use hcrun_tests::{Ended, Signal, lab, signal};

use crate::scene::{Moment, Scene};

/// Sends `what` to the worker of `slot` at `moment` and looks at what becomes of the run.
#[track_caller]
fn check(slot: &str, what: Signal, moment: Moment, detect_within_s: u64) {
    let scene = Scene::at(lab!(), moment, detect_within_s);
    let worker = scene.run.worker(slot);
    let since = Instant::now();
    signal(worker, what);
    let (after, ended) = scene.end(since);
    after.assert_failed(&ended);
    after.assert_nothing_is_left();
    after.assert_checkpoint(moment);
    let summary = after.run.summary();
    let workers = summary["workers"].as_array().unwrap();
    let samples: u64 = workers.iter().map(|worker| worker["samples"].as_u64().unwrap()).sum();
    assert_eq!(samples > 0, summary["steps"] != 0, "{summary}");
    let cause = match (what, moment) {
        (Signal::KILL, _) => "the process was ended by signal 9",
        (_, Moment::Start) => "did not join within",
        _ => "no heartbeat for",
    };
    assert_names(&ended, slot, cause);
    // Nothing is there that could wake up.
    signal(worker, Signal::CONT);
    after.assert_nothing_is_left();
}

#[track_caller]
fn assert_names(ended: &Ended, slot: &str, cause: &str) {
    let zone = slot.split('-').next().unwrap();
    let node = hcrun_worker::process::node_name();
    let who = format!("at: worker {slot} on node {node} in zone {zone}\n");
    assert!(ended.stderr.contains(&who), "not {who:?}: {ended}");
    assert!(ended.stderr.contains(cause), "not {cause:?}: {ended}");
}

macro_rules! cases {
    ($($name:ident: $slot:literal $signal:ident at $moment:ident, $detect:literal s;)*) => {
        $(#[test]
        fn $name() {
            check($slot, Signal::$signal, Moment::$moment, $detect);
        })*
    };
}

cases! {
    private_0_killed_at_start: "private-0" KILL at Start, 5 s;
    private_0_killed_after_joining: "private-0" KILL at Joined, 5 s;
    private_0_killed_in_a_step: "private-0" KILL at Step, 5 s;
    private_0_killed_at_a_checkpoint: "private-0" KILL at Checkpoint, 5 s;
    private_0_stopped_at_start: "private-0" STOP at Start, 5 s;
    private_0_stopped_in_a_step: "private-0" STOP at Step, 5 s;
    private_0_stopped_at_a_checkpoint: "private-0" STOP at Checkpoint, 2 s;
    private_1_killed_at_start: "private-1" KILL at Start, 5 s;
    private_1_killed_in_a_step: "private-1" KILL at Step, 5 s;
    private_1_killed_at_a_checkpoint: "private-1" KILL at Checkpoint, 5 s;
    private_1_stopped_at_start: "private-1" STOP at Start, 5 s;
    private_1_stopped_in_a_step: "private-1" STOP at Step, 2 s;
    private_1_stopped_at_a_checkpoint: "private-1" STOP at Checkpoint, 2 s;
    public_0_killed_at_start: "public-0" KILL at Start, 5 s;
    public_0_killed_in_a_step: "public-0" KILL at Step, 5 s;
    public_0_killed_at_a_checkpoint: "public-0" KILL at Checkpoint, 5 s;
    public_0_stopped_at_start: "public-0" STOP at Start, 5 s;
    public_0_stopped_in_a_step: "public-0" STOP at Step, 2 s;
    public_0_stopped_at_a_checkpoint: "public-0" STOP at Checkpoint, 2 s;
    public_1_killed_at_start: "public-1" KILL at Start, 5 s;
    public_1_killed_in_a_step: "public-1" KILL at Step, 5 s;
    public_1_killed_at_a_checkpoint: "public-1" KILL at Checkpoint, 5 s;
    public_1_stopped_at_start: "public-1" STOP at Start, 5 s;
    public_1_stopped_after_joining: "public-1" STOP at Joined, 2 s;
    public_1_stopped_in_a_step: "public-1" STOP at Step, 2 s;
    public_1_stopped_at_a_checkpoint: "public-1" STOP at Checkpoint, 5 s;
}
