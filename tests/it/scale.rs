//! `hcrun scale` on a small job: what it reports, what it leaves, and how it ends early.

use std::fs;
use std::time::Duration;

use hcrun_tests::{Job, Lab, Signal, lab, until};

fn bench(steps: u32) -> Lab {
    let lab = lab!();
    let mut job = Job::text().train(&format!("steps = {steps}"));
    job.head.push_str("policy = { min_rows = 10 }\n");
    job.write(&lab);
    lab.hcrun(["shard", "index", "job.toml", "--min-rows", "10"]).succeed();
    lab
}

#[test]
fn two_sizes_twice_give_figures_rows_and_a_report() {
    let lab = bench(12);
    let ended = lab.hcrun(["scale", "job.toml", "--workers", "2,1", "--repeat", "2", "--json"]).succeed();
    let document = ended.json();
    assert_eq!((&document["schema"], &document["ok"]), (&1.into(), &true.into()));
    let sizes = document["sizes"].as_array().unwrap();
    let workers: Vec<u64> = sizes.iter().map(|size| size["workers"].as_u64().unwrap()).collect();
    assert_eq!(workers, [1, 2]);
    for (size, workers) in sizes.iter().zip([1.0, 2.0]) {
        let mean = |key: &str| size[key]["mean"].as_f64().unwrap();
        assert!(mean("samples_per_s") > 0.0 && size["samples_per_s"]["half_width"].is_number(), "{size}");
        assert!((mean("speed_up") - mean("efficiency") * workers).abs() < 1e-9, "{size}");
        let parts = mean("compute_s") + mean("exchange_s") + mean("rest_s");
        assert!((parts - mean("step_s")).abs() <= 0.05 * mean("step_s"), "{size}");
        // One worker has nobody to exchange with.
        match workers > 1.0 {
            true => assert!((0.0..1.0).contains(&mean("exchange_share")), "{size}"),
            false => assert!(size["exchange_share"].is_null() && mean("exchange_s") == 0.0, "{size}"),
        }
        // Two of either zone are needed before anything crosses, so both are private.
        assert_eq!(size["spread"]["private"].as_f64(), Some(workers), "{size}");
        for run in size["runs"].as_array().unwrap() {
            let summary = lab.path().join("runs").join(run.as_str().unwrap()).join("summary.json");
            let summary: serde_json::Value = serde_json::from_slice(&fs::read(summary).unwrap()).unwrap();
            assert_eq!(summary["workers"].as_array().unwrap().len() as f64, workers);
        }
    }
    // The same batches, whatever the number of workers.
    let losses = sizes.iter().map(|size| size["held_out_loss"]["mean"].as_f64().unwrap());
    let losses: Vec<f64> = losses.collect();
    assert!((losses[0] - losses[1]).abs() < 1e-3, "{losses:?}");
    assert_eq!(sizes[0]["efficiency"]["mean"].as_f64(), Some(1.0));
    let warnings = document["warnings"].to_string();
    assert!(warnings.contains("private 1 + public 1 cannot be"), "{warnings}");

    let csv = fs::read_to_string(lab.path().join("scaling.csv")).unwrap();
    let rows: Vec<&str> = csv.lines().skip(1).map(|row| row.split_once(',').unwrap().0).collect();
    assert_eq!(rows, ["1", "2", "2", "1"], "forth and back");
    let html = fs::read_to_string(lab.path().join("scaling.html")).unwrap();
    assert!(html.contains("Loss against samples") && html.contains("Loss against time"));
    assert_eq!(html.matches("<svg").count(), 4, "throughput, step times, two losses");
    let outside = html.replace("http://www.w3.org/2000/svg", "");
    for foreign in ["http", "<script", "<link", "src="] {
        assert!(!outside.contains(foreign), "{foreign}");
    }
}

#[test]
fn predictions_are_called_so_and_carry_their_error() {
    let lab = bench(8);
    let args = ["scale", "job.toml", "--workers", "1,2,3", "--repeat", "1", "--predict", "4,512"];
    let ended = lab.hcrun(args).succeed();
    let predicted = ended.stdout.split_once("predicted, not measured").unwrap().1;
    let row = predicted.lines().find(|line| line.starts_with("4 ")).unwrap();
    assert!(row.contains("predicted") && row.contains('±') && row.contains('%'), "{ended}");
    assert!(predicted.contains("more machines of the same kind"), "{ended}");
    assert!(predicted.contains("not predicted: 512 workers: a batch of 8 samples"), "{ended}");
    // No machine of this test has so many cores that the warning depends on it alone.
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    assert_eq!(ended.stderr.contains("says nothing about scaling"), cores < 3, "{ended}");
}

#[test]
fn what_cannot_be_asked_is_refused_with_what_to_write() {
    let lab = bench(12);
    for (args, code, said) in [
        (&["--workers", "0"][..], 2, "0"),
        (&["--workers", "two"], 2, "two"),
        (&[], 2, "--workers"),
        (&["--workers", "1,2", "--repeat", "0"], 2, "--repeat"),
        (&["--workers", "1,2", "--predict", "64"], 2, "name more under --workers"),
        (&["--workers", "1", "--set", "train.steps=2"], 2, "too short to be measured"),
        (&["--workers", "1000"], 5, "which has 64 slots"),
        (&["--workers", "1", "--set", "train.stepz=2"], 2, "did you mean `steps`"),
    ] {
        let ended = lab.hcrun(["scale", "job.toml"]).args(args).fail(code);
        assert!(ended.stderr.contains(said), "{args:?}: {ended}");
        assert!(!lab.path().join("runs").exists(), "{args:?} runs nothing");
    }
}

#[test]
fn ctrl_c_reports_what_was_measured() {
    let lab = bench(40);
    let args = ["scale", "job.toml", "--workers", "1", "--repeat", "100", "--json", "--quiet"];
    let command = lab.hcrun(args).start();
    let ended_runs = || {
        let runs = fs::read_dir(lab.path().join("runs")).into_iter().flatten().flatten();
        runs.filter(|run| !run.file_name().eq("latest") && run.path().join("report.html").exists()).count()
    };
    until("two runs that have ended", Duration::from_secs(60), || (ended_runs() >= 2).then_some(()));
    command.signal(Signal::INT);
    let ended = command.end_within(Duration::from_secs(20));
    assert_eq!(ended.code(), Some(130), "{ended}");
    let document = ended.json();
    assert_eq!((&document["ok"], &document["error"]["code"]), (&false.into(), &"HC9001".into()));
    let made = document["sizes"][0]["runs"].as_array().unwrap().len();
    assert!((2..100).contains(&made), "{made}");
    let html = fs::read_to_string(lab.path().join("scaling.html")).unwrap();
    assert!(html.contains("of 100 runs"));
    assert_eq!(fs::read_to_string(lab.path().join("scaling.csv")).unwrap().lines().count(), made + 1);
}
