//! Spot under deadlines, on a fixed sample of the study of `examples/spot.rs`: nobody is ever late, and `deadline` pays least.

use std::path::{Path, PathBuf};

use hcrun_scheduling::simulator::Checks;

mod common {
    pub(crate) mod spot_study;
}
use common::spot_study::{DEADLINES, STRATEGIES, Source, bamboo, made_up, run};

/// Mean cost by strategy; panics if any run is late.
fn means(sources: &[Source], hours: u64, starts: u64) -> [f64; 3] {
    STRATEGIES.map(|strategy| {
        let mut sum = 0.0;
        for source in sources {
            for start in 0..starts {
                let result = run(source, strategy, hours, start, Checks::Totals);
                assert!(!result.late, "{strategy} is late: {}, {hours} h, start {start}", source.name);
                sum += result.cost;
            }
        }
        sum / (sources.len() as f64 * starts as f64)
    })
}

#[test]
fn deadlines_are_met_for_less_than_by_greed_or_uniform_progress() {
    let sources = made_up();
    for hours in DEADLINES {
        let [greedy, uniform, deadline] = means(&sources, hours, 3);
        assert!(
            deadline < greedy.min(uniform),
            "{hours} h: {greedy:.4} {uniform:.4}, deadline {deadline:.4}"
        );
    }
}

#[test]
fn recorded_fleets_are_never_late() {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/traces");
    let folder = std::env::var_os("HCRUN_TRACES").map_or(beside, PathBuf::from);
    let Some(sources) = bamboo(&folder) else {
        eprintln!("SKIPPED: there are no traces at {}; set HCRUN_TRACES to their folder", folder.display());
        return;
    };
    for hours in [52, 72] {
        means(&sources, hours, 1);
    }
}
