//! However a job, its workers or its queue end: nothing is lost, and nothing is done twice.

use hcrun_tests::{Signal, signal, until};

use crate::scene::{LIMIT, Scene};

/// Enough that what befalls a run finds it training.
const STEPS: u64 = 3_000;

#[test]
fn a_done_job_is_never_run_again() {
    let scene = Scene::new();
    let id = scene.submit(&[]);
    assert_eq!(scene.job(id)["state"], "waiting");
    assert_eq!(scene.ps()["up"], false);
    scene.up_until_idle("fifo-skip");
    let summary = scene.ended_run(id).summary();
    assert_eq!((&summary["status"], &summary["steps"]), (&"done".into(), &3.into()));
    scene.up_until_idle("srtf");
    assert_eq!(scene.job(id)["state"], "done");
    assert_eq!(scene.run_count(id), 1);
    assert_eq!(scene.record()[0]["starts"], "1");
}

#[test]
fn a_killed_queue_loses_no_job() {
    let scene = Scene::new();
    let digest = scene.undisturbed(STEPS);
    let (running, waiting) = (scene.submit_steps(STEPS, &[]), scene.submit(&[]));
    let mut up = scene.up(&[]);
    let run = scene.run(&mut up, running);
    run.wait_event(&mut up, "checkpoint");
    let launchers = run.holdings(up.process());
    up.signal(Signal::KILL);
    assert_eq!(up.end_within(LIMIT).code(), None);
    until("its runs to end with it", LIMIT, || run.leftovers(&launchers).is_empty().then_some(()));
    assert_eq!(scene.ps()["up"], false);
    // Said before the queue is up again, taken in when it is.
    let late = scene.submit(&[]);
    let before = run.steps();
    scene.up_until_idle("fifo-skip");
    scene.assert_done(running, &digest);
    assert!(before < STEPS, "the kill came too late to tell anything");
    for id in [waiting, late] {
        assert_eq!(scene.job(id)["state"], "done");
    }
    let row = scene.record().into_iter().find(|row| row["job"] == running.to_string()).unwrap();
    assert_eq!(row["starts"], "2");
}

/// Its worker stands still, so that the checkpoint which was asked for is still to be written when the queue is killed.
#[test]
fn a_queue_killed_while_a_job_gives_way_loses_neither() {
    let scene = Scene::new();
    let digest = scene.undisturbed(STEPS);
    let long = scene.submit_steps(STEPS, &[]);
    let mut up = scene.up(&["--strategy", "classes"]);
    let run = scene.run(&mut up, long);
    run.wait_event(&mut up, "checkpoint");
    signal(run.worker("public-0"), Signal::STOP);
    let urgent = scene.submit(&["--priority", "guaranteed"]);
    scene.wait_state(&mut up, long, "stopping");
    assert_eq!(scene.job(urgent)["processes"], serde_json::json!([]), "its devices are not free yet");
    let launchers = run.holdings(up.process());
    up.signal(Signal::KILL);
    assert_eq!(up.end_within(LIMIT).code(), None);
    until("its runs to end with it", LIMIT, || run.leftovers(&launchers).is_empty().then_some(()));
    let before = run.steps();
    scene.up_until_idle("classes");
    scene.assert_done(long, &digest);
    assert!(before < STEPS, "the kill came too late to tell anything");
    assert_eq!(scene.job(urgent)["state"], "done");
    // One after the other, as its class wants it.
    let launched = |id: i64, index: usize| scene.job(id)["processes"][index]["launched"].as_f64().unwrap();
    let ended = scene.job(urgent)["processes"][0]["ended"].as_f64().unwrap();
    assert_eq!(scene.job(long)["processes"][0]["ending"], "lost");
    assert!(launched(urgent, 0) > launched(long, 0) && launched(long, 1) >= ended);
}

/// What a submission said is there; what it did not come to say is there whole or not at all.
#[test]
fn submissions_that_are_killed_leave_whole_jobs_or_none() {
    let scene = Scene::new();
    let jobs = scene.lab.path().join("queue/jobs");
    scene.submit(&[]);
    let there = || std::fs::read_dir(&jobs).unwrap().count();
    for _ in 0..6 {
        let before = there();
        let submission = scene.lab.hcrun(["submit", "job.toml"]).start();
        // Its files come first, its row after them.
        until("its files", LIMIT, || (there() > before || !submission.process().is_alive()).then_some(()));
        submission.signal(Signal::KILL);
        submission.end_within(LIMIT);
    }
    let ids: Vec<i64> =
        scene.ps()["jobs"].as_array().unwrap().iter().map(|job| job["id"].as_i64().unwrap()).collect();
    let last = scene.submit(&[]);
    assert_eq!(last, ids.len() as i64 + 1, "an id is given out once: {ids:?}");
    scene.up_until_idle("fifo-skip");
    for id in ids.into_iter().chain([last]) {
        let job = scene.job(id);
        assert_eq!((&job["state"], scene.run_count(id)), (&"done".into(), 1), "{job}");
    }
}

#[test]
fn a_queue_that_is_told_to_end_stops_its_jobs_with_checkpoints() {
    let scene = Scene::new();
    let digest = scene.undisturbed(STEPS);
    let id = scene.submit_steps(STEPS, &[]);
    let mut up = scene.up(&[]);
    let run = scene.run(&mut up, id);
    run.wait_steps(&mut up, 5);
    up.signal(Signal::INT);
    assert!(up.end_within(LIMIT).status.success());
    assert_eq!(run.summary()["status"], "stopped");
    let job = scene.job(id);
    assert_eq!((&job["state"], &job["reason"]), (&"waiting".into(), &"the queue is not up".into()));
    scene.up_until_idle("fifo-skip");
    scene.assert_done(id, &digest);
}

#[test]
fn a_worker_that_dies_costs_a_retry() {
    let scene = Scene::new();
    let digest = scene.undisturbed(STEPS);
    let id = scene.submit_steps(STEPS, &[]);
    let mut up = scene.up(&["--until-idle"]);
    let run = scene.run(&mut up, id);
    run.wait_event(&mut up, "checkpoint");
    signal(run.worker("public-0"), Signal::KILL);
    let reason = until("the retry to be announced", LIMIT, || {
        let reason = scene.job(id)["reason"].as_str().unwrap().to_owned();
        reason.contains("retry 1 of 3 in 1 s").then_some(reason)
    });
    assert!(reason.contains("a worker died"), "{reason}");
    assert!(up.end_within(LIMIT).status.success());
    scene.assert_done(id, &digest);
}

#[test]
fn a_job_that_fails_is_failed_with_its_code() {
    let scene = Scene::new();
    let id = scene.submit(&[]);
    std::fs::remove_file(scene.lab.path().join("secret.csv")).unwrap();
    scene.up_until_idle("fifo-skip");
    let job = scene.job(id);
    assert_eq!((&job["state"], &job["exit_code"]), (&"failed".into(), &2.into()), "{job}");
    assert!(job["reason"].as_str().unwrap().contains("a worker cannot use its data"), "{job}");
}

#[test]
fn a_cancelled_job_ends_with_a_checkpoint_and_stays_so() {
    let scene = Scene::new();
    let (running, waiting) = (scene.submit_steps(100_000_000, &[]), scene.submit(&[]));
    let mut up = scene.up(&[]);
    let run = scene.run(&mut up, running);
    run.wait_steps(&mut up, 5);
    let cancel = |id: i64| scene.lab.hcrun(["cancel", &id.to_string()]);
    assert_eq!(cancel(waiting).succeed().stdout, format!("job {waiting}: cancelled\n"));
    assert_eq!(cancel(running).succeed().stdout, format!("job {running}: cancelled\n"));
    assert_eq!(run.summary()["status"], "stopped");
    let again = cancel(running).fail(2);
    assert!(again.stderr.contains("is cancelled already") && again.stderr.contains("HC2027"), "{again}");
    // Its devices are free.
    let next = scene.submit(&[]);
    scene.wait_state(&mut up, next, "done");
    up.signal(Signal::TERM);
    assert!(up.end_within(LIMIT).status.success());
    scene.up_until_idle("fifo-skip");
    assert_eq!(scene.job(running)["state"], "cancelled");
    assert!(!scene.lab.path().join(format!("queue/runs/{waiting}")).exists());
}
