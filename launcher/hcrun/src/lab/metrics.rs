//! The columns of every table, by one list.

use hcrun_scheduling::comparison::Beside;
use hcrun_scheduling::costs::{BILLED_GB, Bill, MicroUsd};

use super::sweep::Run;

/// How a figure is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    Seconds,
    Milliseconds,
    Share,
    Ratio,
    Count,
    Dollars,
    /// Of 2^30 bytes.
    Gigabytes,
}

/// One figure of a run.
#[derive(Debug)]
pub(crate) struct Metric {
    /// In JSON and CSV.
    pub(crate) key: &'static str,
    /// In tables for people; none: left out of them.
    pub(crate) title: Option<&'static str>,
    pub(crate) unit: Unit,
    pub(crate) of: fn(&Run) -> Option<f64>,
    /// What it is above the first strategy's, where that is over the jobs that both finished.
    pub(crate) beside: Option<fn(&Beside) -> f64>,
}

macro_rules! metrics {
    ($($key:ident $title:expr, $unit:ident, $of:expr $(, $beside:expr)?;)*) => {
        &[$(Metric {
            key: stringify!($key), title: $title, unit: Unit::$unit, of: $of, beside: metrics!(@ $($beside)?)
        }),*]
    };
    (@) => { None };
    (@ $beside:expr) => { Some($beside) };
}

#[rustfmt::skip]
pub(crate) const METRICS: &[Metric] = metrics! {
    jobs Some("jobs"), Count, |run| Some(run.figures.jobs as f64);
    refused Some("refused"), Count, |run| Some(run.figures.refused as f64);
    avg_jct_s Some("JCT mean"), Seconds, |run| Some(run.figures.avg_jct_s), |beside| beside.avg_jct_s;
    p50_jct_s Some("p50"), Seconds, |run| Some(run.figures.p50_jct_s), |beside| beside.p50_jct_s;
    p99_jct_s Some("p99"), Seconds, |run| Some(run.figures.p99_jct_s), |beside| beside.p99_jct_s;
    makespan_s Some("makespan"), Seconds, |run| Some(run.figures.makespan_s);
    avg_queue_s Some("queued"), Seconds, |run| Some(run.figures.avg_queue_s), |beside| beside.avg_queue_s;
    utilisation Some("used"), Share, |run| Some(run.figures.utilisation);
    worst_fairness Some("worst rho"), Ratio, |run| Some(run.figures.worst_fairness);
    unfair_share Some("unfair"), Share, |run| Some(run.figures.unfair_share);
    deadlines_met Some("in time"), Share, |run| run.figures.deadlines_met;
    usd Some("cost"), Dollars, |run| dollars(run, Bill::total).filter(|_| run.bill.unpriced_egress.is_empty());
    usd_private None, Dollars, |run| dollars(run, |bill| bill.private);
    usd_on_demand None, Dollars, |run| dollars(run, |bill| bill.on_demand);
    usd_spot None, Dollars, |run| dollars(run, |bill| bill.spot);
    usd_egress Some("egress"), Dollars, egress;
    sent_gb None, Gigabytes, |run| run.sent_bytes.map(|bytes| bytes as f64 / BILLED_GB as f64);
    preemptions Some("preempted"), Count, |run| Some(run.figures.preemptions as f64);
    restarts Some("restarts"), Count, |run| Some(run.figures.restarts as f64);
    losses None, Count, |run| Some(run.figures.losses as f64);
    violations Some("violations"), Count, |run| Some(run.figures.violations as f64);
    decisions None, Count, |run| Some(run.figures.decisions as f64);
    decision_p50_ms None, Milliseconds, |run| Some(run.decision_p50_ms);
    decision_p95_ms Some("decide p95"), Milliseconds, |run| Some(run.decision_p95_ms);
    wall_ms Some("wall"), Milliseconds, |run| Some(run.wall_ms);
};

/// None where the trace does not say what jobs send, or a zone that sent something has no price for it.
fn egress(run: &Run) -> Option<f64> {
    let is_known = run.sent_bytes.is_some() && run.bill.unpriced_egress.is_empty();
    is_known.then(|| run.bill.egress.as_usd())
}

/// None where a pool that was used has no price: a sum without it would be too low.
fn dollars(run: &Run, part: impl Fn(&Bill) -> MicroUsd) -> Option<f64> {
    run.bill.unpriced.is_empty().then(|| part(&run.bill).as_usd())
}

impl Unit {
    /// As people read it.
    pub(crate) fn show(self, value: f64) -> String {
        match self {
            Unit::Seconds => seconds(value),
            Unit::Milliseconds if value < 0.1 => format!("{:.0} µs", value * 1e3),
            Unit::Milliseconds if value < 10.0 => format!("{value:.1} ms"),
            Unit::Milliseconds => format!("{value:.0} ms"),
            Unit::Share => format!("{:.1} %", value * 100.0),
            Unit::Dollars => format!("{value:.2} USD"),
            Unit::Gigabytes => format!("{value:.1} GB"),
            Unit::Ratio => format!("{value:.2}"),
            Unit::Count if value.fract() == 0.0 => format!("{value:.0}"),
            Unit::Count => format!("{value:.1}"),
        }
    }
}

/// With the largest unit that leaves a number before the point.
pub(super) fn seconds(value: f64) -> String {
    match value.abs() {
        size if size < 120.0 => format!("{value:.1} s"),
        size if size < 7_200.0 => format!("{:.1} min", value / 60.0),
        size if size < 172_800.0 => format!("{:.1} h", value / 3_600.0),
        _ => format!("{:.1} d", value / 86_400.0),
    }
}
