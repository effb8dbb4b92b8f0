//! Who runs when: the order of a strategy, and who gives way to whom.

use crate::scene::{LIMIT, Scene};

/// Ids by their first start.
fn order(scene: &Scene) -> Vec<String> {
    let mut rows = scene.record();
    rows.sort_by(|a, b| {
        let start =
            |row: &std::collections::BTreeMap<String, String>| row["first_start"].parse::<f64>().unwrap();
        start(a).total_cmp(&start(b))
    });
    rows.into_iter().map(|row| row["job"].clone()).collect()
}

#[test]
fn jobs_run_in_the_order_of_the_strategy() {
    for (strategy, expected) in [("fifo-skip", ["1", "2", "3"]), ("srtf", ["3", "1", "2"])] {
        let scene = Scene::new();
        for estimate in ["200", "300", "100"] {
            scene.submit(&["--estimate", estimate]);
        }
        scene.up_until_idle(strategy);
        assert_eq!(order(&scene), expected, "{strategy}");
    }
}

#[test]
fn a_higher_class_takes_the_devices_and_the_other_goes_on_to_the_same_bits() {
    const STEPS: u64 = 3_000;
    let scene = Scene::new();
    let digest = scene.undisturbed(STEPS);
    let long = scene.submit_steps(STEPS, &[]);
    let mut up = scene.up(&["--strategy", "classes"]);
    scene.run(&mut up, long).wait_steps(&mut up, 5);
    let urgent = scene.submit(&["--priority", "guaranteed"]);
    scene.wait_state(&mut up, urgent, "done");
    scene.wait_state(&mut up, long, "done");
    scene.assert_done(long, &digest);
    up.signal(hcrun_tests::Signal::TERM);
    assert!(up.end_within(LIMIT).status.success());

    // The devices were really free when they were given on.
    let long_job = scene.job(long);
    let [stopped, went_on] = &long_job["processes"].as_array().unwrap()[..] else { panic!() };
    let urgently = &scene.job(urgent)["processes"][0].clone();
    let at = |process: &serde_json::Value, what: &str| process[what].as_f64().unwrap();
    assert_eq!((&stopped["ending"], &went_on["ending"]), (&"stopped".into(), &"done".into()));
    assert!(at(stopped, "asked_to_stop") < at(stopped, "ended"));
    assert!(at(stopped, "ended") <= at(urgently, "launched"));
    assert!(at(urgently, "ended") <= at(went_on, "launched"));

    let rows = scene.record();
    let row = |id: i64| rows.iter().find(|row| row["job"] == id.to_string()).unwrap();
    assert_eq!((row(long)["preemptions"].as_str(), row(long)["starts"].as_str()), ("1", "2"));
    assert_eq!(row(urgent)["preemptions"], "0");
    let seconds = |id: i64, column: &str| row(id)[column].parse::<f64>().unwrap();
    assert!(seconds(urgent, "end") < seconds(long, "end"));
    assert!(seconds(long, "stop") > 0.0 && seconds(long, "startup") > 0.0 && seconds(long, "work") > 0.0);
}

/// What waits says why, in words and numbers.
#[test]
fn a_waiting_job_says_what_it_waits_for() {
    let scene = Scene::new();
    let first = scene.submit_steps(100_000_000, &[]);
    let mut up = scene.up(&[]);
    scene.wait_state(&mut up, first, "running");
    let second = scene.submit(&[]);
    let waiting = hcrun_tests::until("a reason", LIMIT, || {
        Some(scene.job(second)).filter(|job| job["reason"].as_str().unwrap().contains("devices"))
    });
    assert_eq!(waiting["reason"], "it needs 2 devices, and 0 that may run it are free");
    assert_eq!(waiting["state"], "waiting");
}
