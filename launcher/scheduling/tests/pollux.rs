//! Pollux's workloads: what is read, and one of the eight against the published figures. The study of all eight is
//! `examples/pollux`.

#[path = "common/mod.rs"]
mod common;
#[path = "../examples/pollux/workloads.rs"]
mod workloads;

use std::collections::BTreeMap;
use std::sync::Arc;

use hcrun_protocol::time::Span;
use hcrun_scheduling::simulator::{Checks, simulate};
use hcrun_scheduling::strategy::Pace;
use hcrun_scheduling::traces::{self, Beside};
use hcrun_scheduling::{Fleet, strategies};

/// Tiresias on workload 1: 2,474 s. Pollux's mean of the eight is 0.68 of Tiresias's.
#[test]
fn the_first_workload_comes_out_as_published() {
    let Some(folder) = common::traces_folder() else { return };
    let mean = |name: &str| {
        let mut strategy = strategies::by_name(name).unwrap();
        if !strategy.size.is_elastic() {
            strategy.pace = Pace::Rounds(Span::from_secs(60));
        }
        let fleet = Arc::new(Fleet::uniform(16, 4).unwrap());
        let workload = workloads::read(&folder, 1);
        let outcome = simulate(&fleet, workload, &mut strategy, Checks::Everything).unwrap();
        let times = outcome.completion_times();
        assert_eq!(times.len(), 160, "{name}");
        times.iter().map(|time| time.as_secs_f64()).sum::<f64>() / 160.0
    };
    let las = mean("las");
    assert!((las / 2_474.0 - 1.0).abs() < 0.05, "las {las}");
    for name in ["demand", "sia"] {
        assert!(mean(name) < 0.8 * las, "{name}: {} against {las}", mean(name));
    }
}

const WORKLOAD: &str = "name,time,application,num_replicas,batch_size\na-0,3,toy,2,16\n";

fn files() -> BTreeMap<String, String> {
    let placements =
        "placement,local_bsz,step_time,sync_time\n1,4,0.5,0.0\n1,16,1.0,0.0\n2,4,0.6,0.1\n2,16,1.2,0.1\n";
    let scalability = "num_nodes,num_replicas,local_bsz,step_time,sync_time\n2,4,4,0.9,0.3\n";
    let validation = "progress,iteration,metric,grad_sqr,grad_var\n100,99,1,1.0,20.0\n200,199,2,0.5,30.0\n";
    let file = |name: &str, text: &str| (format!("toy/{name}"), text.to_owned());
    BTreeMap::from([
        file("placements.csv", placements),
        file("scalability.csv", scalability),
        file("validation-8.csv", validation),
        file("validation-64.csv", validation),
    ])
}

#[test]
fn a_workload_is_read_with_its_profiles() {
    let workload = traces::read_with("pollux", WORKLOAD, &Beside::new(files())).unwrap();
    let job = &workload.jobs()[0];
    assert_eq!((job.devices.min, job.devices.requested, job.devices.max), (1, 2, 16));
    // 16 samples on two replicas: 8 each, a third of the way from 4 to 16.
    let gain = |square: f64, noise: f64| (noise + square) / (noise / 2.0 + square);
    let seconds = 0.8 * (100.0 / gain(1.0, 20.0) + 100.0 / gain(0.5, 30.0));
    assert!((job.work.as_secs_f64() - seconds).abs() < 1e-3, "{} {seconds}", job.work);
}

#[test]
fn errors_name_the_file_and_the_line() {
    let broken = |name: &str, from: &str, to: &str| {
        let mut files = files();
        let text = files.get_mut(&format!("toy/{name}")).unwrap();
        assert!(text.contains(from), "{from}");
        *text = text.replacen(from, to, 1);
        traces::read_with("pollux", WORKLOAD, &Beside::new(files)).unwrap_err().to_string()
    };
    let cases = [
        (
            "placements.csv",
            "\n2,4",
            "\n20,4",
            "toy/placements.csv, line 4, column `placement`: `20` is not digits",
        ),
        (
            "placements.csv",
            "0.6,0.1",
            "0.6,0.7",
            "toy/placements.csv, line 4, column `sync_time`: `0.7` is not",
        ),
        ("scalability.csv", "0.9", "-1", "toy/scalability.csv, line 2, column `step_time`: `-1` is not"),
        (
            "scalability.csv",
            "num_nodes",
            "nodes",
            "toy/scalability.csv, line 1: column `num_nodes` is missing",
        ),
        ("validation-8.csv", "200,", "100,", "toy/validation-8.csv, line 3, column `progress`: `100` is not"),
        (
            "validation-64.csv",
            "20.0",
            "NaN",
            "toy/validation-64.csv, line 2, column `grad_var`: `NaN` is not",
        ),
    ];
    for (file, from, to, expected) in cases {
        let error = broken(file, from, to);
        assert!(error.starts_with(expected), "{error}");
    }
    let read =
        |text: &str, files| traces::read_with("pollux", text, &Beside::new(files)).unwrap_err().to_string();
    let mut fewer = files();
    fewer.remove("toy/scalability.csv");
    assert_eq!(
        read(WORKLOAD, fewer),
        "line 2: there is no profile of application `toy`: `toy/scalability.csv` is missing"
    );
    assert_eq!(
        read(&WORKLOAD.replace(",16\n", ",65\n"), files()),
        "line 2: batch_size 65 is outside the profiled 8..64"
    );
    let mut odd = files();
    odd.insert("toy/validation-large.csv".to_owned(), String::new());
    assert_eq!(
        read(WORKLOAD, odd),
        "file `toy/validation-large.csv` beside the trace is not named validation-<batch>.csv"
    );
}
