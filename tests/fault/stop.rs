//! A run that is asked to end: by Ctrl-C, by a signal, by `hcrun stop`.

use std::time::Instant;

use hcrun_tests::{Signal, lab};

use crate::scene::{Aftermath, Moment, Scene};

#[track_caller]
fn assert_stopped(after: &Aftermath) {
    let summary = after.run.summary();
    assert_eq!(summary["status"], "stopped");
    assert_eq!(after.checkpoint(), summary["steps"].as_u64(), "the checkpoint is of the last step");
    assert_eq!(after.run.steps(), summary["steps"].as_u64().unwrap());
    after.assert_nothing_is_left();
}

#[track_caller]
fn check_signal(what: Signal, moment: Moment, code: i32) {
    let scene = Scene::at(lab!(), moment, 5);
    let since = Instant::now();
    scene.launcher.signal(what);
    let (after, ended) = scene.end(since);
    assert_eq!(ended.code(), Some(code), "{ended}");
    assert_stopped(&after);
}

#[test]
fn ctrl_c_stops_with_a_checkpoint() {
    check_signal(Signal::INT, Moment::Step, 130);
}

#[test]
fn ctrl_c_at_a_checkpoint_stops_with_another() {
    check_signal(Signal::INT, Moment::Checkpoint, 130);
}

#[test]
fn sigterm_stops_with_a_checkpoint() {
    check_signal(Signal::TERM, Moment::Step, 143);
}

#[test]
fn ctrl_c_at_start_leaves_at_once() {
    let scene = Scene::at(lab!(), Moment::Start, 5);
    let since = Instant::now();
    scene.launcher.signal(Signal::INT);
    let (after, ended) = scene.end(since);
    assert_eq!(ended.code(), Some(130), "{ended}");
    after.assert_nothing_is_left();
}

/// A worker that stands still keeps a run from stopping gracefully; the second Ctrl-C does not wait for it.
#[test]
fn ctrl_c_twice_kills() {
    let mut scene = Scene::at(lab!(), Moment::Step, 60);
    hcrun_tests::signal(scene.run.worker("public-0"), Signal::STOP);
    scene.launcher.signal(Signal::INT);
    scene.run.wait_event(&mut scene.launcher, "stop-requested");
    let since = Instant::now();
    scene.launcher.signal(Signal::INT);
    let (after, ended) = scene.end(since);
    assert!(since.elapsed().as_secs() < 3, "at once, not after {:?}", since.elapsed());
    assert_eq!(ended.code(), Some(130), "{ended}");
    after.assert_nothing_is_left();
}

#[test]
fn hcrun_stop_is_a_success_for_both() {
    let scene = Scene::at(lab!(), Moment::Step, 5);
    let since = Instant::now();
    let stop = scene.lab.hcrun(["stop"]).succeed();
    assert!(stop.stdout.contains("stopped"), "{stop}");
    let (after, ended) = scene.end(since);
    assert_eq!(ended.code(), Some(0), "{ended}");
    assert_stopped(&after);
}
