//! Figures as a table for people, as rows for other programs, and as JSON.

use std::collections::BTreeMap;

use hcrun_scheduling::comparison::{Interval, mean_interval};
use serde::Serialize;
use serde_json::Number;

use super::sweep::Why;
use super::{Inputs, METRICS, Metric, Replay, Results, notes};
use crate::failure::{Failure, Result};

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
    /// A signal came before all was simulated: figures are of what was complete.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    interrupted: bool,
    /// What is to be known of the figures.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    notes: Vec<String>,
    /// Of a recorded queue: simulated against real.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) replay: Option<Replay>,
}

#[derive(Debug, Serialize)]
struct Row {
    strategy: &'static str,
    /// Means over the seeds that are complete.
    #[serde(flatten)]
    figures: BTreeMap<&'static str, Number>,
    /// Mean and half-width of the 95 % confidence interval, with more than one seed.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    intervals: BTreeMap<&'static str, Interval>,
    /// Difference from the first strategy, seed by seed; of times, over the jobs that both finished.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    difference: BTreeMap<&'static str, Interval>,
    /// How many jobs both finished, in the mean, where one of them refused some.
    #[serde(skip_serializing_if = "Option::is_none")]
    jobs_compared: Option<f64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    failed: Vec<Failed>,
}

#[derive(Debug, Serialize)]
struct Failed {
    seed: u32,
    why: String,
}

impl Document {
    pub(crate) fn of(inputs: &Inputs, results: &Results) -> Document {
        let rows = inputs.strategies.iter().map(|strategy| row(strategy, inputs, results));
        Document {
            schema: SCHEMA,
            ok: results.unfinished.is_empty(),
            trace: inputs.trace.clone(),
            cluster: inputs.cluster.clone(),
            devices: inputs.fleet.devices(),
            seeds: inputs.seeds,
            command: inputs.command.clone(),
            results: rows.collect(),
            interrupted: results.interrupted.is_some(),
            notes: notes::all(inputs, results),
            replay: None,
        }
    }

    /// Adds what became of a recording; gives back why nothing did.
    pub(crate) fn replayed(&mut self, replay: Result<Option<Replay>>) -> Option<Failure> {
        match replay {
            Ok(replay) => {
                self.replay = replay;
                None
            }
            Err(failure) => {
                self.ok = false;
                self.notes.push(format!("{}: {}", failure.what, failure.causes.join(": ")));
                Some(failure)
            }
        }
    }
}

fn row(strategy: &'static str, inputs: &Inputs, results: &Results) -> Row {
    let (base, mut row) = (inputs.strategies[0], Row::of(strategy, results));
    if strategy != base {
        row.jobs_compared = notes::jobs_compared(strategy, results);
    }
    for metric in METRICS {
        let values = values(metric, strategy, results);
        if values.is_empty() {
            continue;
        }
        let interval = mean_interval(&values);
        row.figures.extend(number(interval.mean).map(|mean| (metric.key, mean)));
        if inputs.seeds > 1 {
            row.intervals.insert(metric.key, interval);
            let differences = differences_of(metric, strategy, base, results);
            if strategy != base && !differences.is_empty() {
                row.difference.insert(metric.key, mean_interval(&differences));
            }
        }
    }
    row
}

impl Row {
    fn of(strategy: &'static str, results: &Results) -> Row {
        let failed = results.failed().filter(|(run, _)| run.strategy == strategy);
        Row {
            strategy,
            figures: BTreeMap::new(),
            intervals: BTreeMap::new(),
            difference: BTreeMap::new(),
            jobs_compared: None,
            failed: failed.map(|(run, why)| Failed { seed: run.seed, why: why.to_owned() }).collect(),
        }
    }
}

pub(super) fn values(metric: &Metric, strategy: &str, results: &Results) -> Vec<f64> {
    results.of(strategy).filter_map(metric.of).collect()
}

/// What a strategy's figures are above the first one's, on each seed that both came to the end of. Times are of the jobs
/// that both finished.
pub(super) fn differences_of(metric: &Metric, strategy: &str, base: &str, results: &Results) -> Vec<f64> {
    let difference = |run: &super::Run| match metric.beside {
        Some(of) => run.beside.as_ref().map(of),
        None => {
            let base = results.of(base).find(|base| base.seed == run.seed)?;
            Some((metric.of)(run)? - (metric.of)(base)?)
        }
    };
    results.of(strategy).filter_map(difference).collect()
}

/// Metrics of tables for people that any of the strategies has.
pub(super) fn shown(results: &Results) -> Vec<&'static Metric> {
    let has = |metric: &&Metric| results.runs.iter().any(|run| (metric.of)(run).is_some());
    METRICS.iter().filter(|metric| metric.title.is_some()).filter(has).collect()
}

/// Whole numbers without a point.
fn number(value: f64) -> Option<Number> {
    #[expect(clippy::cast_possible_truncation, reason = "within the range just checked")]
    let whole = (value.fract() == 0.0 && value.abs() < 9e15).then(|| Number::from(value as i64));
    whole.or_else(|| Number::from_f64(value))
}

/// One row per strategy and seed; those without figures say why.
pub(crate) fn to_csv(inputs: &Inputs, results: &Results) -> String {
    let keys: Vec<&str> = METRICS.iter().map(|metric| metric.key).collect();
    let mut csv = format!("strategy,seed,{},unfinished\n", keys.join(","));
    let mut rows: Vec<(usize, u32, String)> = Vec::new();
    let place = |name: &str| inputs.strategies.iter().position(|strategy| *strategy == name).unwrap_or(0);
    for run in &results.runs {
        let fields = METRICS.iter().map(|metric| (metric.of)(run).and_then(number));
        let fields: Vec<String> =
            fields.map(|field| field.map(|field| field.to_string()).unwrap_or_default()).collect();
        let row = format!("{},{},{},\n", run.strategy, run.seed, fields.join(","));
        rows.push((place(run.strategy), run.seed, row));
    }
    for run in &results.unfinished {
        let why = match &run.why {
            Why::Failed(why) => format!("\"{}\"", why.replace('"', "\"\"")),
            Why::Interrupted => "interrupted".to_owned(),
        };
        let row = format!("{},{}{},{why}\n", run.strategy, run.seed, ",".repeat(keys.len()));
        rows.push((place(run.strategy), run.seed, row));
    }
    rows.sort_by_key(|(strategy, seed, _)| (*strategy, *seed));
    rows.into_iter().for_each(|(.., row)| csv += &row);
    csv
}

/// The table for people: one row per strategy, then what differs from the first, with its interval, then what is to be
/// known of the figures.
pub(crate) fn text(inputs: &Inputs, results: &Results) -> String {
    let shown = shown(results);
    let mut header = vec!["strategy".to_owned()];
    header.extend(shown.iter().filter_map(|metric| metric.title).map(str::to_owned));
    let mut rows = vec![header];
    for strategy in &inputs.strategies {
        let mut row = vec![(*strategy).to_owned()];
        row.extend(shown.iter().map(|metric| cell(metric, strategy, results)));
        rows.push(row);
    }
    let jobs = inputs.workload.len();
    let mut lines = vec![format!("{jobs} jobs of {} on {} devices", inputs.trace, inputs.fleet.devices())];
    lines.extend(aligned(&rows));
    lines.extend(differences(inputs, results));
    lines.extend(notes::all(inputs, results).into_iter().map(|note| format!("note: {note}")));
    lines.join("\n")
}

fn cell(metric: &Metric, strategy: &str, results: &Results) -> String {
    match values(metric, strategy, results).as_slice() {
        [] => "-".to_owned(),
        values => metric.unit.show(mean_interval(values).mean),
    }
}

fn differences(inputs: &Inputs, results: &Results) -> Vec<String> {
    let Some(metric) = METRICS.iter().find(|metric| metric.key == "avg_jct_s").filter(|_| inputs.seeds > 1)
    else {
        return Vec::new();
    };
    let base = inputs.strategies[0];
    let seeds = results.of(base).count();
    let mut lines = vec![format!("\nmean JCT beside {base}, paired over {seeds} seeds (95 %):")];
    for strategy in &inputs.strategies[1..] {
        let differences = differences_of(metric, strategy, base, results);
        lines.push(match (differences.len(), mean_interval(&differences)) {
            (0, _) => format!("  {strategy}: nothing to compare"),
            (_, Interval { mean, half_width: None }) => {
                format!("  {strategy}: {} (one seed: no interval)", metric.unit.show(mean))
            }
            (_, Interval { mean, half_width: Some(half) }) => {
                let sure =
                    if mean.abs() > half { "" } else { "  (no difference that these seeds could show)" };
                let (mean, half) = (metric.unit.show(mean), metric.unit.show(half));
                let fewer = if differences.len() == seeds {
                    String::new()
                } else {
                    format!(", {} seeds", differences.len())
                };
                format!("  {strategy}: {mean} ± {half}{fewer}{sure}")
            }
        });
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
