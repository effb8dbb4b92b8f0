//! A worker or launcher that gets no CPU for a while is neither dead nor stalled.

use std::time::{Duration, Instant};

use hcrun_tests::{Job, Process, Signal, lab, signal, until};

use crate::scene::{Moment, Scene, undisturbed};

const STEPS: u64 = 200;

fn job() -> Job {
    Job::tables().train(&format!("steps = {STEPS}")).exchange("detect_within_s = 5")
}

#[track_caller]
fn starve(process: Process, time: Duration) {
    let since = Instant::now();
    signal(process, Signal::STOP);
    until("the end of the famine", 2 * time, || (since.elapsed() >= time).then_some(()));
    signal(process, Signal::CONT);
}

#[track_caller]
fn check(whom: impl Fn(&Scene) -> Process, time: Duration) {
    let scene = Scene::of(lab!(), &job(), Moment::Step, 5);
    starve(whom(&scene), time);
    let (after, ended) = scene.end(Instant::now());
    assert_eq!(ended.code(), Some(0), "{ended}");
    after.assert_nothing_is_left();
    let summary = after.run.summary();
    assert_eq!(summary["steps"], STEPS);
    assert_eq!(summary["parameter_digest"], undisturbed(&lab!(), &job()));
}

/// Less than the 4 s that are promised by what a busy machine may add.
#[test]
fn a_starved_worker_trains_on() {
    check(|scene| scene.run.worker("public-0"), Duration::from_millis(3_500));
}

#[test]
fn a_starved_launcher_goes_on() {
    check(|scene| scene.launcher.process(), Duration::from_millis(3_500));
}
