//! Against the reference simulator: the same traces, policies and pools, every figure.

mod common;

use std::sync::Arc;

use hcrun_scheduling::simulator::{Checks, simulate};
use hcrun_scheduling::{Fleet, strategies, traces};

#[test]
fn every_figure_equals_the_reference_simulator() {
    let Some(folder) = common::traces_folder() else { return };
    let results = std::fs::read_to_string(folder.join("reference_results.csv")).unwrap();
    let mut rows = 0;
    for line in results.lines().skip(1) {
        let fields: Vec<&str> = line.split(',').collect();
        let [path, devices, policy, jobs, average, p50, p99, makespan, utilisation, preemptions] = fields[..]
        else {
            panic!("{line}");
        };
        let format = if path.starts_with("muri") { "muri" } else { "philly" };
        let workload = traces::read(format, &std::fs::read_to_string(folder.join(path)).unwrap()).unwrap();
        let fleet = Arc::new(Fleet::flat(devices.parse().unwrap()).unwrap());
        let mut strategy = strategies::by_name(&policy.to_lowercase()).unwrap();
        let outcome = simulate(&fleet, workload, &mut strategy, Checks::Totals).unwrap();
        let times = outcome.completion_times();
        assert_eq!(times.len().to_string(), jobs, "{path} {policy}");
        assert_eq!(outcome.preemptions().to_string(), preemptions, "{path} {policy}: preemptions");
        let seconds: Vec<f64> = times.iter().map(|time| time.as_secs_f64()).collect();
        let mean = seconds.iter().sum::<f64>() / seconds.len() as f64;
        let figures = [
            ("mean", mean, average),
            ("p50", seconds[seconds.len() / 2], p50),
            ("p99", seconds[seconds.len() * 99 / 100], p99),
            ("makespan", outcome.makespan.as_secs_f64(), makespan),
            ("utilisation", outcome.utilisation(), utilisation),
        ];
        for (name, got, reference) in figures {
            let reference: f64 = reference.parse().unwrap();
            assert!(
                (got / reference - 1.0).abs() < 1e-6,
                "{path} {policy}: {name} {got}, reference {reference}"
            );
        }
        rows += 1;
    }
    assert_eq!(rows, 36);
}
