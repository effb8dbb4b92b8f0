//! How long the way forward takes before and after, on made-up inputs: speed does not depend on what is in a row.

use std::time::Instant;

use hcrun_engine::batch::Inputs;
use hcrun_engine::checkpoint::ModelDescription;
use hcrun_engine::model::Model;
use hcrun_protocol::Prng;
use hcrun_protocol::job;
use serde::Serialize;

use crate::codes;
use crate::failure::{Failure, Result};

#[derive(Debug, Clone, Serialize)]
pub(crate) struct Forward {
    /// Medians, for 1,000 rows, or windows of `context` bytes of a text.
    pub(crate) before_seconds: f64,
    pub(crate) after_seconds: f64,
    pub(crate) rounds: usize,
    /// Kernels start none of their own.
    pub(crate) threads: usize,
}

/// Taken in turns, so that a busy machine slows both.
const ROUNDS: usize = 9;
/// A round takes at least about a millisecond, also for a small table.
const ROWS: usize = 4_096;
const WINDOWS: usize = 64;

pub(crate) fn compare(
    model: &mut Model,
    description: &ModelDescription,
    params: &[f32],
    restored: &[f32],
) -> Result<Forward> {
    let mut prng = Prng::new(1);
    let mut features = Vec::new();
    let mut text = Vec::new();
    let (inputs, samples) = match description.model {
        job::Model::Gpt { context, .. } => {
            let context = usize::try_from(context).unwrap_or(usize::MAX);
            text.extend((0..WINDOWS * context).map(|_| prng.next_u64().to_le_bytes()[0]));
            (Inputs::Tokens { inputs: &text, context }, WINDOWS)
        }
        job::Model::Mlp { .. } => {
            let width = description.schema.as_ref().map_or(0, |schema| schema.features);
            #[expect(clippy::cast_possible_truncation, reason = "any standardised feature will do")]
            features.extend((0..ROWS * width).map(|_| prng.normal() as f32));
            (Inputs::Rows { features: &features }, ROWS)
        }
    };
    let mut seconds = |params: &[f32]| {
        let start = Instant::now();
        let predicted = model.predict(params, inputs).map_err(|error| {
            Failure::new(&codes::INTERNAL, "made-up inputs do not fit the model").caused_by(&error)
        })?;
        std::hint::black_box(predicted);
        Ok(start.elapsed().as_secs_f64() * 1_000.0 / samples as f64)
    };
    // Memory is touched for the first time here.
    seconds(params)?;
    let (mut before, mut after) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        before.push(seconds(params)?);
        after.push(seconds(restored)?);
    }
    let forward =
        Forward { before_seconds: median(before), after_seconds: median(after), rounds: ROUNDS, threads: 1 };
    Ok(forward)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
