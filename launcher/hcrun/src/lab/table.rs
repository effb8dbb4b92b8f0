//! Figures as a table for people, as rows for other programs, and as JSON.

use std::collections::BTreeMap;

use hcrun_scheduling::comparison::{Interval, mean_interval, paired_interval};
use serde::Serialize;
use serde_json::Number;

use super::{Inputs, METRICS, Metric, Replay, Results};

/// Version of the JSON of `simulate` and `compare`. Additions keep the number.
const SCHEMA: u32 = 1;

/// What `--json` prints.
#[derive(Debug, Serialize)]
pub(crate) struct Document {
    schema: u32,
    ok: bool,
    trace: String,
    cluster: String,
    devices: u64,
    seeds: u32,
    /// Gives the same figures again.
    command: String,
    results: Vec<Row>,
    /// Of a recorded queue: simulated against real.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) replay: Option<Replay>,
}

#[derive(Debug, Serialize)]
struct Row {
    strategy: &'static str,
    /// Means over seeds.
    #[serde(flatten)]
    figures: BTreeMap<&'static str, Number>,
    /// Mean and half-width of the 95 % confidence interval, with more than one seed.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    intervals: BTreeMap<&'static str, Interval>,
    /// Difference from the first strategy, seed by seed.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    difference: BTreeMap<&'static str, Interval>,
}

impl Document {
    pub(crate) fn of(inputs: &Inputs, results: &Results) -> Document {
        let rows = inputs.strategies.iter().map(|strategy| row(strategy, inputs, results));
        Document {
            schema: SCHEMA,
            ok: true,
            trace: inputs.trace.clone(),
            cluster: inputs.cluster.clone(),
            devices: inputs.fleet.devices(),
            seeds: inputs.seeds,
            command: inputs.command.clone(),
            results: rows.collect(),
            replay: None,
        }
    }
}

fn row(strategy: &'static str, inputs: &Inputs, results: &Results) -> Row {
    let mut row =
        Row { strategy, figures: BTreeMap::new(), intervals: BTreeMap::new(), difference: BTreeMap::new() };
    for metric in METRICS {
        let values = values(metric, strategy, results);
        if values.is_empty() {
            continue;
        }
        let interval = mean_interval(&values);
        row.figures.extend(number(interval.mean).map(|mean| (metric.key, mean)));
        if inputs.seeds > 1 {
            row.intervals.insert(metric.key, interval);
            if strategy != inputs.strategies[0] {
                let base = self::values(metric, inputs.strategies[0], results);
                row.difference.insert(metric.key, paired_interval(&values, &base));
            }
        }
    }
    row
}

pub(super) fn values(metric: &Metric, strategy: &str, results: &Results) -> Vec<f64> {
    results.of(strategy).filter_map(metric.of).collect()
}

/// Whole numbers without a point.
fn number(value: f64) -> Option<Number> {
    #[expect(clippy::cast_possible_truncation, reason = "within the range just checked")]
    let whole = (value.fract() == 0.0 && value.abs() < 9e15).then(|| Number::from(value as i64));
    whole.or_else(|| Number::from_f64(value))
}

/// One row per strategy and seed.
pub(crate) fn to_csv(results: &Results) -> String {
    let keys: Vec<&str> = METRICS.iter().map(|metric| metric.key).collect();
    let mut csv = format!("strategy,seed,{}\n", keys.join(","));
    for run in &results.runs {
        let fields = METRICS.iter().map(|metric| (metric.of)(run).and_then(number));
        let fields: Vec<String> =
            fields.map(|field| field.map(|field| field.to_string()).unwrap_or_default()).collect();
        csv += &format!("{},{},{}\n", run.strategy, run.seed, fields.join(","));
    }
    csv
}

/// The table for people: one row per strategy, then what differs from the first, with its interval.
pub(crate) fn text(inputs: &Inputs, results: &Results) -> String {
    let shown: Vec<&Metric> = METRICS.iter().filter(|metric| metric.title.is_some()).collect();
    let shown = shown.into_iter().filter(|metric| !values(metric, inputs.strategies[0], results).is_empty());
    let shown: Vec<&Metric> = shown.collect();
    let mut header = vec!["strategy".to_owned()];
    header.extend(shown.iter().filter_map(|metric| metric.title).map(str::to_owned));
    let mut rows = vec![header];
    for strategy in &inputs.strategies {
        let mut row = vec![(*strategy).to_owned()];
        for metric in &shown {
            row.push(metric.unit.show(mean_interval(&values(metric, strategy, results)).mean));
        }
        rows.push(row);
    }
    let jobs = inputs.workload.len();
    let mut lines = vec![format!("{jobs} jobs of {} on {} devices", inputs.trace, inputs.fleet.devices())];
    lines.extend(aligned(&rows));
    lines.extend(differences(inputs, results));
    lines.join("\n")
}

fn differences(inputs: &Inputs, results: &Results) -> Vec<String> {
    let Some(metric) = METRICS.iter().find(|metric| metric.key == "avg_jct_s").filter(|_| inputs.seeds > 1)
    else {
        return Vec::new();
    };
    let base = inputs.strategies[0];
    let base_values = values(metric, base, results);
    let mut lines = vec![format!("\nmean JCT beside {base}, paired over {} seeds (95 %):", inputs.seeds)];
    for strategy in &inputs.strategies[1..] {
        let Interval { mean, half_width } = paired_interval(&values(metric, strategy, results), &base_values);
        let half_width = half_width.unwrap_or(0.0);
        let sure = if mean.abs() > half_width { "" } else { "  (no difference that these seeds could show)" };
        let (mean, half_width) = (metric.unit.show(mean), metric.unit.show(half_width));
        lines.push(format!("  {strategy}: {mean} ± {half_width}{sure}"));
    }
    lines
}

/// The first column to the left, all others to the right.
pub(crate) fn aligned(rows: &[Vec<String>]) -> Vec<String> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width =
        |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, width))| match column {
            0 => format!("{cell:<width$}"),
            _ => format!("{cell:>width$}"),
        });
        cells.collect::<Vec<_>>().join("  ")
    };
    rows.iter().map(line).collect()
}
