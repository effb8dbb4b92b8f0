//! What earlier runs of the same job took: the only source of a predicted time.

use std::path::{Path, PathBuf};

use hcrun_protocol::plan::Plan;
use hcrun_scheduling::comparison::{Interval, mean_interval};
use serde::Serialize;

use crate::report::{self, Status};
use crate::run_dir::{RunDir, files};

/// Time and cost of a whole job, with 95 % confidence intervals over runs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Measured {
    pub(crate) runs: usize,
    /// Which runs, newest first: directories in that of the runs.
    pub(crate) from: Vec<String>,
    pub(crate) time_s: Interval,
    /// None without prices.
    pub(crate) cost_usd: Option<Interval>,
}

/// Runs that are looked at, newest first.
const MAX_RUNS: usize = 200;

/// From the finished runs in `runs_dir` whose job has this plan's digest; none if there is none.
pub(crate) fn of(runs_dir: &Path, plan: &Plan) -> Option<Measured> {
    let paths = runs(runs_dir)?;
    let name = |path: &PathBuf| path.file_name().map(|name| name.to_string_lossy().into_owned());
    let times = paths.iter().take(MAX_RUNS).filter_map(|path| Some((time_s(path, plan)?, name(path)?)));
    let (times, from): (Vec<f64>, Vec<String>) = times.unzip();
    if times.is_empty() {
        return None;
    }
    let usd_per_s = plan.price.as_ref().map(|price| price.usd_per_hour / 3_600.0);
    let costs = usd_per_s.map(|usd| times.iter().map(|time| time * usd).collect::<Vec<f64>>());
    Some(Measured {
        runs: times.len(),
        from,
        time_s: mean_interval(&times),
        cost_usd: costs.map(|costs| mean_interval(&costs)),
    })
}

/// Newest first; the link to the latest one is no other run.
fn runs(runs_dir: &Path) -> Option<Vec<PathBuf>> {
    let entries = std::fs::read_dir(runs_dir).ok()?;
    let paths = entries.filter_map(|entry| entry.ok()).map(|entry| entry.path());
    let mut paths: Vec<PathBuf> = paths.filter(|path| !path.is_symlink()).collect();
    // Names begin with the moment of the start.
    paths.sort();
    paths.reverse();
    Some(paths)
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
    /// `61.2 s ± 0.8 s (95 %, 3 earlier runs)`, and where the speed comes from.
    pub(crate) fn text(&self) -> String {
        let runs = report::format::plural(self.runs, "earlier run");
        let spread = |interval: &Interval, unit: &str| match interval.half_width {
            Some(half) => format!("{:.1} {unit} ± {half:.1} {unit} (95 %, {runs})", interval.mean),
            None => format!("{:.1} {unit} (one earlier run: no interval)", interval.mean),
        };
        let mut text = format!("time: {} for the steps", spread(&self.time_s, "s"));
        text += &format!("\n  speed: the median time of a step in {}", self.named());
        if let Some(cost) = &self.cost_usd {
            let half = cost.half_width.map(|half| format!(" ± {half:.4}")).unwrap_or_default();
            text += &format!("\ncost: {:.4}{half} USD for the steps", cost.mean);
        }
        text
    }

    fn named(&self) -> String {
        let named = self.from.iter().take(MAX_NAMED).cloned().collect::<Vec<_>>().join(", ");
        match self.from.len().saturating_sub(MAX_NAMED) {
            0 => named,
            more => format!("{named} and {more} more"),
        }
    }
}

/// Runs that are named in text; the JSON has all.
const MAX_NAMED: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_predicted_time_says_where_its_speed_comes_from() {
        let from = |count: usize| (0..count).map(|run| format!("run-{run}")).collect::<Vec<_>>();
        let of = |times: &[f64]| Measured {
            runs: times.len(),
            from: from(times.len()),
            time_s: mean_interval(times),
            cost_usd: None,
        };
        let one = "time: 2.0 s (one earlier run: no interval) for the steps\n  speed: the median time of a step in run-0";
        assert_eq!(of(&[2.0]).text(), one);
        let five = of(&[2.0; 5]).text();
        assert!(
            five.ends_with("speed: the median time of a step in run-0, run-1, run-2 and 2 more"),
            "{five}"
        );
    }

    /// `latest` is a link to a run that is there by its name too.
    #[test]
    fn a_run_counts_once() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("run")).unwrap();
        std::os::unix::fs::symlink("run", folder.path().join("latest")).unwrap();
        assert_eq!(runs(folder.path()).unwrap(), [folder.path().join("run")]);
    }
}
