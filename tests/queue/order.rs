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
    let reason = "it needs 2 devices of pool `private`, of which 0 are free";
    assert_eq!(waiting["reason"], reason);
    assert_eq!(waiting["state"], "waiting");
    let text = scene.lab.hcrun(["ps"]).succeed().stdout;
    assert!(text.contains("(private 2 + public 2)") && text.contains(reason), "{text}");

    let why = |id: i64| scene.lab.hcrun(["why", &id.to_string(), "--json"]).succeed().json()["data"].take();
    let said = why(second);
    assert_eq!((&said["up"], &said["job"]["state"]), (&true.into(), &"waiting".into()));
    let answer = &said["why"];
    assert_eq!((&answer["answer"], &answer["pool"]), (&"too-few-free".into(), &"private".into()), "{said}");
    assert_eq!(answer["holders"][0]["job"], format!("{first} {}", said["job"]["name"].as_str().unwrap()));
    assert_eq!((&answer["position"], &answer["strategy"]), (&1.into(), &"fifo-skip".into()));
    // An hour, as nobody said how long it takes.
    let in_s = said["enough_free"]["in_s"].as_f64().unwrap();
    assert!((3_000.0..=3_700.0).contains(&in_s), "{said}");
    let text = scene.lab.hcrun(["why", &second.to_string()]).succeed().stdout;
    assert!(text.contains(&format!("under fifo-skip: {reason}")) && text.contains("held by: `1 "), "{text}");
    assert!(text.contains("in line: 1 of 1") && text.contains("next: by the estimates"), "{text}");
    let text = scene.lab.hcrun(["why", &first.to_string()]).succeed().stdout;
    assert!(text.contains("running: next in line, and its devices are free"), "{text}");
    assert!(text.contains("ago  started: next in line"), "{text}");
    let refused = scene.lab.hcrun(["why", "second"]).fail(2);
    assert!(refused.stderr.contains("`second` is not the id of a job"), "{refused}");
    let refused = scene.lab.hcrun(["why", "1", "--at", "5"]).fail(2);
    assert!(refused.stderr.contains("are for jobs of a trace"), "{refused}");

    // Who asks later is told as well, and that nobody is there.
    up.signal(hcrun_tests::Signal::KILL);
    assert_eq!(up.end_within(LIMIT).code(), None);
    let text = scene.lab.hcrun(["why", &second.to_string()]).succeed().stdout;
    assert!(text.contains(reason) && text.contains("nobody runs this queue"), "{text}");
}

/// Strategies that decide in rounds run a queue too; between two rounds nothing is decided.
#[test]
fn a_strategy_of_rounds_runs_jobs_round_by_round() {
    let scene = Scene::new();
    let one = |workers: &str| ["--set", workers, "--set", "workers.public=0"].map(str::to_owned);
    let ids = [1, 2].map(|_| scene.submit(&one("workers.private=2").each_ref().map(String::as_str)));
    let in_two_pools = scene.submit(&[]);
    let up = scene.up(&["--until-idle", "--strategy", "max-min", "--round", "1"]).end_within(LIMIT);
    assert!(up.status.success(), "{up}");
    for id in ids {
        assert_eq!(scene.job(id)["state"], "done");
    }
    // This strategy keeps a gang in one pool; another does not.
    let job = scene.job(in_two_pools);
    assert_eq!(job["state"], "waiting");
    assert!(
        job["reason"].as_str().unwrap().contains("under max-min: it asks for devices of 2 pools"),
        "{job}"
    );
    assert!(up.stderr.contains("still waiting, for another cluster or strategy: 3"), "{up}");
    scene.up_until_idle("fifo-skip");
    assert_eq!(scene.job(in_two_pools)["state"], "done");
    let refused = scene.lab.hcrun(["up", "--round", "5"]).fail(2);
    assert!(refused.stderr.contains("`fifo-skip` has no rounds"), "{refused}");
}
