//! What `--json` prints.

use std::collections::BTreeMap;

use hcrun_protocol::PoolId;
use hcrun_scheduling::comparison::Interval;
use hcrun_scheduling::scaling::{Model, Part};
use serde::Serialize;

use super::plan::{Experiment, Scaling};
use super::results::{Prediction, Results, Row};
use crate::failure::ErrorJson;

/// Version of the JSON form. Additions keep the number.
const SCHEMA: u32 = 1;

#[derive(Debug, Serialize)]
pub(crate) struct Document<'a> {
    schema: u32,
    /// Whether all runs were made.
    ok: bool,
    job: &'a str,
    /// Gives the same experiment again.
    command: &'a str,
    cores: usize,
    repeats: u32,
    /// `strong`: the global batch stays; `weak`: it grows with the workers.
    scaling: &'static str,
    sizes: Vec<SizeJson<'a>>,
    skipped: Vec<SkippedJson<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<ModelJson>,
    /// Nobody measured these.
    predicted: Vec<PredictedJson<'a>>,
    warnings: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ErrorJson<'a>>,
}

/// Means over repeats, with the half-width of their 95 % confidence intervals.
#[derive(Debug, Serialize)]
struct SizeJson<'a> {
    workers: u16,
    spread: BTreeMap<&'a PoolId, u16>,
    batch: u32,
    shares_cores: bool,
    samples_per_s: Interval,
    speed_up: Interval,
    efficiency: Interval,
    exchange_share: Option<Interval>,
    step_s: Interval,
    compute_s: Interval,
    exchange_s: Interval,
    rest_s: Interval,
    loss_last: Interval,
    held_out_loss: Option<Interval>,
    /// Run directories.
    runs: Vec<&'a str>,
}

#[derive(Debug, Serialize)]
struct SkippedJson<'a> {
    workers: u16,
    reason: &'a str,
}

/// Seconds per unit of each term.
#[derive(Debug, Serialize)]
struct ModelJson {
    compute: BTreeMap<&'static str, f64>,
    exchange: BTreeMap<&'static str, f64>,
    rest: BTreeMap<&'static str, f64>,
    /// Relative, of a step at a size left out.
    error: f64,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum PredictedJson<'a> {
    Forecast {
        workers: u32,
        samples_per_s: f64,
        /// Relative, of the time of a step.
        error: f64,
        efficiency: f64,
        exchange_share: f64,
        step_s: f64,
    },
    Impossible {
        workers: u32,
        reason: &'a str,
    },
}

impl<'a> Document<'a> {
    pub(crate) fn of(experiment: &'a Experiment, results: &'a Results) -> Document<'a> {
        let skipped = experiment.skipped.iter();
        Document {
            schema: SCHEMA,
            ok: results.ended.is_none(),
            job: &experiment.job,
            command: &experiment.command,
            cores: experiment.cores,
            repeats: experiment.repeats,
            scaling: match experiment.scaling {
                Scaling::Strong { .. } => "strong",
                Scaling::Weak { .. } => "weak",
            },
            sizes: results.rows.iter().map(|row| size(experiment, results, row)).collect(),
            skipped: skipped.map(|one| SkippedJson { workers: one.workers, reason: &one.reason }).collect(),
            model: results.model.as_ref().map(model),
            predicted: results.predictions.iter().map(predicted).collect(),
            warnings: experiment.warnings(),
            error: results.ended.as_ref().map(crate::Failure::to_json),
        }
    }
}

fn size<'a>(experiment: &'a Experiment, results: &'a Results, row: &Row) -> SizeJson<'a> {
    let size = &experiment.sizes[row.size];
    SizeJson {
        workers: size.workers,
        spread: size.spread.iter().map(|(pool, count)| (pool, *count)).collect(),
        batch: size.batch,
        shares_cores: experiment.shares_cores(size),
        samples_per_s: row.samples_per_s,
        speed_up: row.speed_up,
        efficiency: row.efficiency,
        exchange_share: row.exchange_share,
        step_s: row.step_s,
        compute_s: row.compute_s,
        exchange_s: row.exchange_s,
        rest_s: row.rest_s,
        loss_last: row.loss_last,
        held_out_loss: row.held_out_loss,
        runs: results.of_size(row.size).map(|run| run.name.as_str()).collect(),
    }
}

fn model(model: &Model) -> ModelJson {
    let constants = |part: &Part| part.constants().map(|(term, constant)| (term.key(), constant)).collect();
    ModelJson {
        compute: constants(model.compute()),
        exchange: constants(model.exchange()),
        rest: constants(model.rest()),
        error: model.error(),
    }
}

fn predicted(prediction: &Prediction) -> PredictedJson<'_> {
    let workers = prediction.workers;
    match &prediction.outcome {
        Ok(forecast) => PredictedJson::Forecast {
            workers,
            samples_per_s: forecast.samples_per_s,
            error: forecast.step.error,
            efficiency: forecast.efficiency,
            exchange_share: forecast.exchange_share(),
            step_s: forecast.step.step_s(),
        },
        Err(reason) => PredictedJson::Impossible { workers, reason },
    }
}
