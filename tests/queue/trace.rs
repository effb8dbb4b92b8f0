//! What ran becomes a trace, and its simulation is held against it.

use crate::scene::{LIMIT, Scene};

#[test]
fn a_recording_is_replayed_beside_what_really_happened() {
    let scene = Scene::new();
    for steps in [200, 50, 100] {
        scene.submit_steps(steps, &["--estimate", "10"]);
    }
    scene.up_until_idle("fifo-skip");
    let rows = scene.record();
    assert_eq!(rows.len(), 3);
    let answer = scene.lab.hcrun(["simulate", "--replay", "trace.csv", "--json"]).succeed().json();
    let replay = &answer["replay"];
    assert_eq!(replay["strategy"], "fifo-skip");
    assert_eq!(answer["results"][0]["jobs"], 3);
    let end = rows.iter().map(|row| row["end"].parse::<f64>().unwrap()).fold(0.0, f64::max);
    assert!((replay["makespan"]["real_s"].as_f64().unwrap() - end).abs() < 1e-5);
    // What the simulation knows is what was measured: it lies below what happened by what nobody measures.
    let work =
        rows.iter().map(|row| row["work"].parse::<f64>().unwrap() + row["startup"].parse::<f64>().unwrap());
    let simulated = replay["makespan"]["simulated_s"].as_f64().unwrap();
    assert!((simulated - work.sum::<f64>()).abs() < 1e-3, "{replay}");
    assert!(simulated <= end, "{replay}");
    let text = scene.lab.hcrun(["simulate", "--replay", "trace.csv"]).succeed().stdout;
    assert!(text.contains("mean JCT") && text.contains("simulated"), "{text}");
    let compared = scene.lab.hcrun(["compare", "--replay", "trace.csv", "--strategy", "fifo-skip,srtf"]);
    assert!(compared.succeed().stdout.contains("srtf"));
}

/// Jobs that did not come to their end held devices too.
#[test]
fn jobs_that_were_cancelled_or_failed_or_are_not_done_are_recorded_and_not_compared() {
    const LONG: u64 = 100_000_000;
    let scene = Scene::new();
    let (done, failed) = (scene.submit(&[]), scene.submit(&[]));
    scene.lab.write(&format!("queue/jobs/{failed}/job.toml"), "no job at all");
    let mut up = scene.up(&[]);
    scene.wait_state(&mut up, failed, "failed");
    scene.wait_state(&mut up, done, "done");
    let cancelled = scene.submit_steps(LONG, &[]);
    let waiting = scene.submit(&[]);
    scene.run(&mut up, cancelled).wait_steps(&mut up, 5);
    scene.lab.hcrun(["cancel", &cancelled.to_string()]).succeed();
    scene.wait_state(&mut up, waiting, "done");
    let unfinished = scene.submit_steps(LONG, &[]);
    scene.run(&mut up, unfinished).wait_steps(&mut up, 5);
    let rows = scene.record();
    let row = |id: i64| rows.iter().find(|row| row["job"] == id.to_string()).unwrap();
    let states = [done, failed, cancelled, waiting, unfinished].map(|id| row(id)["state"].as_str());
    assert_eq!(states, ["done", "failed", "cancelled", "done", "unfinished"]);
    let replay =
        scene.lab.hcrun(["simulate", "--replay", "trace.csv", "--json"]).succeed().json()["replay"].take();
    let ids: Vec<&str> =
        replay["jobs"].as_array().unwrap().iter().map(|job| job["job"].as_str().unwrap()).collect();
    assert_eq!(ids, [done.to_string(), waiting.to_string()]);
    assert_eq!(replay["left_out"], serde_json::json!({ "cancelled": 1, "failed": 1, "unfinished": 1 }));
    // It had to wait for the cancelled one, in the simulation as well: all its devices were taken.
    let simulated = replay["jobs"][1]["jct"]["simulated_s"].as_f64().unwrap();
    let seconds = |id: i64, column: &str| row(id)[column].parse::<f64>().unwrap();
    assert!(simulated >= seconds(cancelled, "end") - seconds(waiting, "submit"), "{replay}");
    let text = scene.lab.hcrun(["simulate", "--replay", "trace.csv"]).succeed().stdout;
    assert!(text.contains("simulated and not compared: 1 cancelled, 1 failed, 1 unfinished"), "{text}");
    up.signal(hcrun_tests::Signal::TERM);
    assert!(up.end_within(LIMIT).status.success());
}

/// A queue learns how long a job takes from the last time it did.
#[test]
fn a_job_that_was_done_before_is_expected_to_take_as_long() {
    let scene = Scene::new();
    let first = scene.lab.hcrun(["submit", "job.toml", "--json"]).succeed().json();
    assert_eq!(first["data"]["estimate_s"], 3_600.0);
    scene.up_until_idle("fifo-skip");
    let again = scene.lab.hcrun(["submit", "job.toml", "--json"]).succeed().json();
    let work: f64 = scene.record()[0]["work"].parse().unwrap();
    assert!((again["data"]["estimate_s"].as_f64().unwrap() - work).abs() < 1e-5, "{again}");
}
