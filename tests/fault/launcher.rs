//! A launcher that is killed or stands still: its workers end without it.

use std::time::{Duration, Instant};

use hcrun_tests::{Job, Signal, lab};

use crate::scene::{Moment, Scene, undisturbed, until_workers_are_gone};

/// Killed workers of a killed launcher are gone as soon as the kernel has cleaned up.
const AT_ONCE: Duration = Duration::from_secs(2);
/// A machine that is busy with other tests wakes a process late.
const MARGIN: Duration = Duration::from_secs(2);

#[track_caller]
fn check_killed(moment: Moment) {
    let scene = Scene::at(lab!(), moment, 5);
    let since = Instant::now();
    scene.launcher.signal(Signal::KILL);
    until_workers_are_gone(&scene.run, AT_ONCE);
    println!("workers were gone {:.3} s after their launcher", since.elapsed().as_secs_f64());
    let (after, ended) = scene.end(since);
    assert_eq!(ended.code(), None, "{ended}");
    hcrun_tests::until("nothing to be left", AT_ONCE, || after.leftovers().is_empty().then_some(()));
    after.assert_checkpoint(moment);
    let status = after.lab.hcrun(["status"]).succeed();
    assert!(status.stdout.contains("interrupted"), "{status}");
}

#[track_caller]
fn check_stopped(moment: Moment, detect_within_s: u64) {
    let scene = Scene::at(lab!(), moment, detect_within_s);
    let since = Instant::now();
    scene.launcher.signal(Signal::STOP);
    until_workers_are_gone(&scene.run, Duration::from_secs(detect_within_s) + MARGIN);
    println!("workers were gone {:.2} s after their launcher stood still", since.elapsed().as_secs_f64());
    let since = Instant::now();
    scene.launcher.signal(Signal::CONT);
    let (after, ended) = scene.end(since);
    after.assert_failed(&ended);
    assert!(ended.stderr.contains("the launcher itself stood still for"), "{ended}");
    after.assert_nothing_is_left();
    after.assert_checkpoint(moment);
}

#[test]
fn killed_at_start() {
    check_killed(Moment::Start);
}

#[test]
fn killed_in_a_step() {
    check_killed(Moment::Step);
}

#[test]
fn killed_at_a_checkpoint() {
    check_killed(Moment::Checkpoint);
}

#[test]
fn a_killed_run_is_resumed_to_the_same_bits() {
    let of_steps = |steps: u64| Job::text().train(&format!("steps = {steps}\ncheckpoint_every = 1"));
    // Without an end: however late the signal is sent, there is a run to kill.
    let scene = Scene::of(lab!(), &of_steps(100_000_000), Moment::Checkpoint, 5);
    scene.launcher.signal(Signal::KILL);
    let (after, _) = scene.end(Instant::now());
    let steps = after.checkpoint().unwrap() + 20;
    after.lab.hcrun(["resume", "--set", &format!("train.steps={steps}")]).succeed();
    let summary = after.run.summary();
    assert_eq!(summary["steps"], steps);
    assert_eq!(summary["parameter_digest"], undisturbed(&lab!(), &of_steps(steps)));
}

#[test]
fn stopped_at_start() {
    check_stopped(Moment::Start, 5);
}

#[test]
fn stopped_in_a_step() {
    check_stopped(Moment::Step, 5);
}

#[test]
fn stopped_at_a_checkpoint() {
    check_stopped(Moment::Checkpoint, 2);
}
