//! What ran becomes a trace, and its simulation is held against it.

use crate::scene::Scene;

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
