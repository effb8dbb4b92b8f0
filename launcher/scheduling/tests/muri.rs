//! Muri's published SRTF and SRSF rows: a sample of what `examples/muri.rs` prints in full.

mod common;

use std::sync::Arc;

use hcrun_protocol::time::Span;
use hcrun_scheduling::simulator::{Checks, Overheads, simulate};
use hcrun_scheduling::{Fleet, strategies, traces};

include!("../examples/muri/published.rs");

#[test]
fn published_rows_are_met_within_three_percent() {
    let Some(folder) = common::traces_folder() else { return };
    let fleet = Arc::new(Fleet::uniform(8, 8).unwrap());
    for (trace, srtf, srsf) in PUBLISHED.iter().filter(|row| row.0 == "trace3" || row.0 == "trace4") {
        for (times_devices, published) in [(false, srtf), (true, srsf)] {
            let text = std::fs::read_to_string(folder.join(format!("muri/{trace}.csv"))).unwrap();
            let mut workload = traces::read("muri", &text).unwrap();
            overheads().charge(&mut workload);
            let mut strategy = strategies::restarting(times_devices, PERIOD);
            let outcome = simulate(&fleet, workload, &mut strategy, Checks::Totals).unwrap();
            let times = outcome.completion_times();
            let mean = times.iter().map(|time| time.as_secs_f64()).sum::<f64>() / times.len() as f64;
            let off = (mean / published - 1.0).abs();
            assert!(off < 0.03, "{trace}: {mean} s, published {published} s");
        }
    }
}
