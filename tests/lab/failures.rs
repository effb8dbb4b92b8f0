//! Strategies that come to no end, and jobs that are refused: others keep their figures, and comparisons stay fair.

use std::fs;

use hcrun_tests::{Lab, lab};

/// Two devices of our own and a spot pool of four, of which two are ever there.
const CLUSTER: &str = r#"
[[zone]]
name = "lab"
trust = "private"
owner = "us"
[[pool]]
name = "own"
zone = "lab"
slots = 2
[[pool]]
name = "spot"
zone = "lab"
slots = 4
devices_per_node = 1
terms = "spot"
"#;

const JOBS: &str = "submit,duration,gpus\n0,10,1\n5,100,4\n8,20,1\n";

fn scene() -> Lab {
    let lab = lab!();
    lab.write("cluster.toml", CLUSTER);
    lab.write("jobs.csv", JOBS);
    lab.write("two.txt", "2021-12-10, 13:00:00, 2\n2021-12-10, 14:00:00, 2\n");
    lab
}

#[test]
fn a_strategy_that_is_stuck_costs_its_own_row_alone() {
    let lab = scene();
    // `max-min` keeps a gang in one pool and waits for four spot devices for ever; `fifo-skip` takes two of either.
    let args =
        ["compare", "--trace", "csv:jobs.csv", "--cluster", "cluster.toml", "--spot", "spot=counts:two.txt"];
    let args = [&args[..], &["--strategy", "fifo-skip,max-min,srsf", "--seeds", "2"]].concat();
    let ended = lab.hcrun(&args).fail(5);
    assert!(ended.stderr.contains("2 of 6 simulations failed") && ended.stderr.contains("HC5002"), "{ended}");
    let row = |name: &str| ended.stdout.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
    assert!(row("max-min").contains(" - ") && row("srsf").contains("3 "), "{ended}");
    assert!(ended.stdout.contains("note: max-min failed on seed 0"), "{ended}");
    assert!(ended.stdout.contains("max-min: nothing to compare"), "{ended}");
    let csv = fs::read_to_string(lab.path().join("comparison.csv")).unwrap();
    let failed: Vec<&str> = csv.lines().filter(|row| row.starts_with("max-min,")).collect();
    assert!(failed.len() == 2 && failed[0].contains("jobs waiting"), "{csv}");
    assert!(csv.lines().filter(|row| row.starts_with("srsf,")).all(|row| row.ends_with(',')), "{csv}");
    let fields = csv.lines().map(|row| row.split(',').count()).max();
    assert_eq!(csv.lines().next().map(|row| row.split(',').count()), fields, "{csv}");
    let html = fs::read_to_string(lab.path().join("comparison.html")).unwrap();
    assert!(html.contains("in part failed") && html.contains("max-min failed on seed 1"));
    let json = lab.hcrun(&args).args(["--json"]).fail(5).json();
    assert_eq!((&json["ok"], &json["results"][1]["failed"][1]["seed"]), (&false.into(), &1.into()));
    assert_eq!(json["results"][0]["jobs"], 3);
}

/// One pool holds 4 devices, so `hybrid` refuses the long job of 5 and looks faster on what is left.
#[test]
fn differences_are_over_jobs_that_both_finish() {
    let lab = scene();
    lab.write("jobs.csv", "submit,duration,gpus\n0,10,1\n0,10,1\n100,1000,5\n200,10,1\n");
    let args = ["compare", "--trace", "csv:jobs.csv", "--cluster", "cluster.toml", "--seeds", "3", "--json"];
    let json = lab.hcrun(args).args(["--strategy", "fifo-skip,hybrid"]).succeed().json();
    let [base, other] = &json["results"].as_array().unwrap()[..] else { panic!("{json}") };
    assert_eq!((&base["jobs"], &other["refused"]), (&4.into(), &1.into()), "{json}");
    let mean = |row: &serde_json::Value| row["avg_jct_s"].as_f64().unwrap();
    assert!(mean(base) > 200.0 && mean(other) < 200.0);
    let difference = other["difference"]["avg_jct_s"]["mean"].as_f64().unwrap();
    assert_eq!(difference, 0.0, "refusing the long job is no gain: {json}");
    assert_eq!(other["jobs_compared"], 3.0, "{json}");
    assert!(json["notes"][0].as_str().unwrap().contains("hybrid refuses 1 of 4 jobs"), "{json}");
    let html = fs::read_to_string(lab.path().join("comparison.html")).unwrap();
    let card = html.split_once("lowest mean JCT</span>").unwrap().1.split_once("</small>").unwrap().0;
    assert!(card.ends_with("fifo-skip"), "who refuses nothing: {card}");
}
