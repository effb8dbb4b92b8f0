//! `hcrun predict`: a trained model on rows or a text that it has not seen.

use std::borrow::Cow;
use std::fmt::Write;
use std::path::Path;

use hcrun_engine::batch::{Batch, Inputs};
use hcrun_engine::checkpoint::{ModelDescription, TrainedModel};
use hcrun_engine::data::Statistics;
use hcrun_engine::data::predict::features;
use hcrun_engine::data::schema::{Schema, Target};
use hcrun_engine::model::Model;
use hcrun_protocol::Prng;
use hcrun_protocol::job;
use serde::Serialize;

use super::trained;
use crate::cli::{Global, PredictArgs};
use crate::codes;
use crate::failure::{Failure, Result};
use crate::output::Output;
use crate::settings::read_bounded;

/// What predict answers.
#[derive(Debug, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
enum Prediction {
    /// One entry per row of the file, in its order.
    Classes { steps: u64, classes: Vec<String>, rows: Vec<ClassRow> },
    /// In the target's unit, one per row.
    Values { steps: u64, target: String, values: Vec<f64>, outputs: Vec<f32> },
    Text {
        steps: u64,
        /// Nats per byte of the file under the model; none for a file of one byte.
        loss: Option<f64>,
        continuation: String,
        /// Logits of the byte after the file.
        next: Vec<f32>,
    },
}

#[derive(Debug, Serialize)]
struct ClassRow {
    class: String,
    probability: f64,
    /// Logits, in the order of `classes`.
    outputs: Vec<f32>,
}

const MAX_INPUT_BYTES: u64 = 1 << 30;
const CONTINUATION_BYTES: usize = 300;

/// Below 1, so that a small model keeps to words it knows.
const TEMPERATURE: f64 = 0.7;

/// Rows or windows computed at once.
const BATCH: usize = 64;

pub(crate) fn predict(args: &PredictArgs, global: &Global, output: &Output) -> Result<()> {
    let trained = trained::find(&global.runs_dir, &args.run, output)?.model;
    let bytes = read_bounded(&args.file, MAX_INPUT_BYTES).map_err(|cause| {
        Failure::new(&codes::FILE_UNREADABLE, "cannot read the file to predict")
            .at(args.file.display().to_string())
            .because(cause)
    })?;
    let prediction = of_bytes(&trained, &args.file, &bytes)?;
    output.answer(&prediction, || words(&prediction));
    Ok(())
}

fn of_bytes(trained: &TrainedModel, path: &Path, bytes: &[u8]) -> Result<Prediction> {
    let description = &trained.model;
    let spec = description.spec().map_err(|error| unusable(path, &error))?;
    let mut model = Model::new(spec, BATCH);
    let steps = trained.meta.step.0;
    match (&description.schema, &description.statistics) {
        (Some(schema), Some(statistics)) => {
            let name = path.display().to_string();
            let features =
                features(schema, statistics, &name, bytes).map_err(|error| unusable(path, &error))?;
            let inputs = Inputs::Rows { features: &features };
            let outputs = model.predict(&trained.params, inputs).map_err(|error| unusable(path, &error))?;
            Ok(of_rows(schema, statistics, steps, outputs))
        }
        _ => of_text(&mut model, description, trained, path, bytes),
    }
}

fn unusable(path: &Path, error: &dyn std::error::Error) -> Failure {
    Failure::new(&codes::PREDICT_INPUT, "the file does not fit the model")
        .at(path.display().to_string())
        .caused_by(error)
}

fn of_rows(schema: &Schema, statistics: &Statistics, steps: u64, outputs: Vec<f32>) -> Prediction {
    match &schema.target {
        Target::Class { classes, .. } => {
            let row = |logits: &[f32]| {
                let probabilities = softmax(logits, 1.0);
                let best = argmax(&probabilities);
                let (class, probability) = (classes[best].clone(), probabilities[best]);
                ClassRow { class, probability, outputs: logits.to_vec() }
            };
            let rows = outputs.chunks_exact(schema.outputs).map(row).collect();
            Prediction::Classes { steps, classes: classes.clone(), rows }
        }
        Target::Value { column } => {
            let moments = statistics.target(schema);
            let restore = |value: &f32| moments.map_or(f64::from(*value), |moments| moments.restore(*value));
            let values = outputs.iter().map(restore).collect();
            Prediction::Values { steps, target: column.clone(), values, outputs }
        }
    }
}

fn of_text(
    model: &mut Model<f32>,
    description: &ModelDescription,
    trained: &TrainedModel,
    path: &Path,
    bytes: &[u8],
) -> Result<Prediction> {
    let job::Model::Gpt { context, .. } = description.model else {
        return Err(Failure::new(&codes::INTERNAL, "a table model without statistics"));
    };
    let context = usize::try_from(context).unwrap_or(usize::MAX);
    if bytes.is_empty() {
        return Err(Failure::new(&codes::PREDICT_INPUT, "the file is empty")
            .at(path.display().to_string())
            .hint("give at least one byte to go on from"));
    }
    let params = &trained.params;
    let fail = |error: hcrun_engine::batch::BatchError| unusable(path, &error);
    let (mut loss_sum, mut weight) = (0.0, 0.0);
    let whole = (bytes.len() - 1) / context * context;
    for (inputs, targets, context) in [
        (&bytes[..whole], &bytes[1.min(bytes.len())..(whole + 1).min(bytes.len())], context),
        (&bytes[whole..bytes.len() - 1], &bytes[whole + 1..], bytes.len() - 1 - whole),
    ] {
        if !inputs.is_empty() {
            let sums = model.evaluate(params, Batch::Tokens { inputs, targets, context }).map_err(fail)?;
            loss_sum += sums.loss_sum;
            weight += sums.weight;
        }
    }
    let mut text = bytes[bytes.len().saturating_sub(context)..].to_vec();
    let given = text.len();
    let mut prng = Prng::new(trained.meta.seed);
    let mut next = Vec::new();
    for produced in 0..CONTINUATION_BYTES {
        let window = &text[text.len().saturating_sub(context)..];
        let inputs = Inputs::Tokens { inputs: window, context: window.len() };
        let logits = model.predict(params, inputs).map_err(fail)?;
        let last = &logits[logits.len() - 256..];
        if produced == 0 {
            next = last.to_vec();
        }
        text.push(draw(last, &mut prng));
    }
    Ok(Prediction::Text {
        steps: trained.meta.step.0,
        loss: (weight > 0.0).then(|| loss_sum / weight),
        continuation: String::from_utf8_lossy(&text[given..]).into_owned(),
        next,
    })
}

fn draw(logits: &[f32], prng: &mut Prng) -> u8 {
    let mut rest = prng.uniform();
    for (byte, probability) in (0..=u8::MAX).zip(softmax(logits, TEMPERATURE)) {
        rest -= probability;
        if rest < 0.0 {
            return byte;
        }
    }
    b'\n'
}

fn softmax(logits: &[f32], temperature: f64) -> Vec<f64> {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let exponentials: Vec<f64> =
        logits.iter().map(|logit| (f64::from(logit - largest) / temperature).exp()).collect();
    let sum: f64 = exponentials.iter().sum();
    exponentials.into_iter().map(|exponential| exponential / sum).collect()
}

fn argmax(values: &[f64]) -> usize {
    let best = values.iter().enumerate().max_by(|(_, a), (_, b)| a.total_cmp(b));
    best.map_or(0, |(index, _)| index)
}

/// CSV for tables, the continued text otherwise.
fn words(prediction: &Prediction) -> String {
    let mut text = String::new();
    match prediction {
        Prediction::Classes { rows, .. } => {
            text.push_str("class,probability\n");
            for row in rows {
                // Writing into a String cannot fail.
                let _ = writeln!(text, "{},{:.6}", csv_field(&row.class), row.probability);
            }
        }
        Prediction::Values { target, values, .. } => {
            let _ = writeln!(text, "{}", csv_field(target));
            for value in values {
                let _ = writeln!(text, "{value}");
            }
        }
        Prediction::Text { loss, continuation, .. } => {
            text.push_str(continuation);
            if let Some(loss) = loss {
                let _ = write!(text, "\n\n(the given text: {loss:.4} nats per byte)");
            }
        }
    }
    text
}

/// In quotes where RFC 4180 needs them.
fn csv_field(text: &str) -> Cow<'_, str> {
    if text.contains([',', '"', '\r', '\n']) {
        format!("\"{}\"", text.replace('"', "\"\"")).into()
    } else {
        text.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_classes_stay_one_field() {
        let rows = ["plain", "bread, white", "6\" pipe"].map(|class| ClassRow {
            class: class.to_owned(),
            probability: 0.5,
            outputs: Vec::new(),
        });
        let prediction = Prediction::Classes { steps: 1, classes: Vec::new(), rows: rows.into() };
        let expected =
            "class,probability\nplain,0.500000\n\"bread, white\",0.500000\n\"6\"\" pipe\",0.500000\n";
        assert_eq!(words(&prediction), expected);
    }
}
