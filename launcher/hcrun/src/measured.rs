//! What earlier runs of the same job took: the only source of a predicted time.

use std::path::Path;

use hcrun_protocol::plan::Plan;
use hcrun_scheduling::comparison::{Interval, mean_interval};
use serde::Serialize;

use crate::report::{self, Status};
use crate::run_dir::{RunDir, files};

/// Time and cost of a whole job, with 95 % confidence intervals over runs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Measured {
    pub(crate) runs: usize,
    pub(crate) time_s: Interval,
    /// None without prices.
    pub(crate) cost_usd: Option<Interval>,
}

/// Runs that are looked at, newest first.
const MAX_RUNS: usize = 200;

/// From the finished runs in `runs_dir` whose job has this plan's digest; none if there is none.
pub(crate) fn of(runs_dir: &Path, plan: &Plan) -> Option<Measured> {
    let entries = std::fs::read_dir(runs_dir).ok()?;
    let mut paths: Vec<_> = entries.filter_map(|entry| entry.ok()).map(|entry| entry.path()).collect();
    // Names begin with the moment of the start.
    paths.sort();
    let times = paths.iter().rev().take(MAX_RUNS).filter_map(|path| time_s(path, plan));
    let times: Vec<f64> = times.collect();
    if times.is_empty() {
        return None;
    }
    let usd_per_s = plan.price.as_ref().map(|price| price.usd_per_hour / 3_600.0);
    let costs = usd_per_s.map(|usd| times.iter().map(|time| time * usd).collect::<Vec<f64>>());
    Some(Measured {
        runs: times.len(),
        time_s: mean_interval(&times),
        cost_usd: costs.map(|costs| mean_interval(&costs)),
    })
}

fn time_s(path: &Path, plan: &Plan) -> Option<f64> {
    let run = RunDir { path: path.to_owned() };
    let earlier = std::fs::read(run.file(files::PLAN)).ok()?;
    let earlier: Plan = serde_json::from_slice(&earlier).ok()?;
    let summary = report::read_summary(&run).filter(|summary| summary.status == Status::Done)?;
    (earlier.job_digest == plan.job_digest).then_some(())?;
    summary.step_time_s.map(|step| step.p50 * plan.steps as f64)
}

impl Measured {
    /// `61.2 s ± 0.8 s (95 %, 3 earlier runs)`.
    pub(crate) fn text(&self) -> String {
        let runs = report::format::plural(self.runs, "earlier run");
        let spread = |interval: &Interval, unit: &str| match interval.half_width {
            Some(half) => format!("{:.1} {unit} ± {half:.1} {unit} (95 %, {runs})", interval.mean),
            None => format!("{:.1} {unit} (one earlier run: no interval)", interval.mean),
        };
        let mut text = format!("time: {} for the steps", spread(&self.time_s, "s"));
        if let Some(cost) = &self.cost_usd {
            let half = cost.half_width.map(|half| format!(" ± {half:.4}")).unwrap_or_default();
            text += &format!("\ncost: {:.4}{half} USD for the steps", cost.mean);
        }
        text
    }
}
