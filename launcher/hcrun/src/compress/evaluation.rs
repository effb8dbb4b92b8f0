//! Loss and accuracy of a model before and after, on the same held-out rows.

use hcrun_engine::batch::EvalSums;
use hcrun_engine::checkpoint::TrainedModel;
use hcrun_engine::model::Model;
use hcrun_protocol::ShardId;
use hcrun_protocol::job::{Data, Loss};
use serde::Serialize;

use super::held_out::HeldOut;
use crate::codes;
use crate::failure::{Failure, Result};

#[derive(Debug, Clone, Serialize)]
pub(crate) struct Evaluation {
    pub(crate) shards: Vec<ShardId>,
    /// Rows, or windows of a text.
    pub(crate) rows: u64,
    /// What `correct` and `accuracy` count: rows, or bytes.
    pub(crate) counted: u64,
    pub(crate) unit: &'static str,
    pub(crate) before: Score,
    pub(crate) after: Score,
    /// By how much it is worse: points of accuracy, or percent of the RMSE. Negative if it is better.
    pub(crate) worse_points: f64,
    /// Fewer right answers; none for values.
    pub(crate) worse_count: Option<i64>,
}

#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Score {
    pub(crate) loss: f64,
    pub(crate) accuracy: Option<f64>,
    pub(crate) correct: Option<u64>,
    /// In the target's unit.
    pub(crate) rmse: Option<f64>,
}

/// None without rows.
pub(crate) fn compare(
    model: &mut Model,
    trained: &TrainedModel,
    restored: &[f32],
    held_out: &HeldOut,
) -> Result<Option<Evaluation>> {
    if held_out.rows == 0 {
        return Ok(None);
    }
    let before = evaluate(model, &trained.params, held_out)?;
    let after = evaluate(model, restored, held_out)?;
    let counted = whole(before.weight);
    let (before, after) = (score(trained, before), score(trained, after));
    let worse_points = match (before.rmse, after.rmse) {
        (Some(before), Some(after)) => (after / before - 1.0) * 100.0,
        _ => (before.accuracy.unwrap_or(0.0) - after.accuracy.unwrap_or(0.0)) * 100.0,
    };
    let worse_count =
        before.correct.zip(after.correct).map(|(before, after)| before.cast_signed() - after.cast_signed());
    Ok(Some(Evaluation {
        shards: held_out.shards.clone(),
        rows: held_out.rows,
        counted,
        unit: unit(trained),
        before,
        after,
        worse_points,
        worse_count,
    }))
}

/// Refuses what is worse than allowed, or cannot be judged.
pub(crate) fn judge(evaluation: Option<&Evaluation>, tolerance: f64) -> Result<()> {
    let refuse = |cause: String| {
        Err(Failure::new(&codes::COMPRESSION_TOLERANCE, "the compressed model is not kept").because(cause))
    };
    let Some(evaluation) = evaluation else {
        return refuse(
            "no held-out row may be opened here, so nothing can be said of its accuracy".to_owned(),
        );
    };
    // Also what is not a number.
    if evaluation.worse_points <= tolerance {
        return Ok(());
    }
    let measure = match evaluation.before.rmse {
        Some(_) => "percent more error (RMSE)",
        None => "points less accuracy",
    };
    refuse(format!(
        "it has {:.2} {measure} on {} held-out rows, and {tolerance} are allowed",
        evaluation.worse_points, evaluation.rows
    ))
}

fn evaluate(model: &mut Model, params: &[f32], held_out: &HeldOut) -> Result<EvalSums> {
    let mut sums = EvalSums::default();
    for batch in &held_out.batches {
        sums.add(model.evaluate(params, batch.as_batch()).map_err(|error| {
            Failure::new(&codes::INTERNAL, "held-out rows do not fit the model").caused_by(&error)
        })?);
    }
    Ok(sums)
}

fn score(trained: &TrainedModel, sums: EvalSums) -> Score {
    let values = trained.model.loss == Loss::Mse;
    let deviation = trained.model.schema.as_ref().zip(trained.model.statistics.as_ref());
    let deviation = deviation.and_then(|(schema, statistics)| statistics.target(schema));
    let deviation = deviation.map_or(1.0, |target| target.deviation);
    Score {
        loss: sums.loss_sum / sums.weight,
        accuracy: (!values).then(|| sums.correct / sums.weight),
        correct: (!values).then(|| whole(sums.correct)),
        rmse: values.then(|| (sums.squared_error / sums.weight).sqrt() * deviation),
    }
}

fn unit(trained: &TrainedModel) -> &'static str {
    match (&trained.model.data, trained.model.loss) {
        (Data::Text { .. }, _) => "nats per byte",
        (_, Loss::CrossEntropy) => "nats",
        (_, Loss::Mse) => "squared error, standardised",
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count summed as f64")]
fn whole(count: f64) -> u64 {
    count as u64
}
