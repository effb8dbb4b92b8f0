//! Training with bf16 factors reaches the loss of training in f32.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use hcrun_engine::batch::Batch;
use hcrun_engine::clip::{clip, fold_partials, norm_partials};
use hcrun_engine::model::Model;
use hcrun_engine::optimizer::{Optimizer, StepScalars};
use hcrun_engine::spec::{DataShape, ModelSpec};
use hcrun_protocol::job::{self, Matmul};
use hcrun_protocol::units::chunk_elems;

const SENTENCE: &[u8] = b"the quick brown fox jumps over the lazy dog, and the dog sleeps on. ";
const CONTEXT: usize = 32;
const SEQUENCES: usize = 4;

/// As a job file without `matmul` is read.
fn train() -> job::Train {
    serde_json::from_value(serde_json::json!({
        "loss": "cross-entropy", "optimizer": "adamw", "learning_rate": 3e-3, "clip": 1.0, "batch": 4, "steps": 80
    }))
    .unwrap()
}

/// Mean loss per token of each step.
fn losses(matmul: Matmul) -> Vec<f64> {
    let model = job::Model::Gpt { layers: 2, width: 32, heads: 2, context: 32 };
    let spec = ModelSpec::new(&model, DataShape::Text { vocab: 256 }).unwrap();
    let (train, profile) = (train(), spec.profile());
    let text = SENTENCE.repeat(4);
    let mut optimizer = Optimizer::new(&train, &profile, std::iter::once(0..profile.arena_elems).collect());
    let mut params = spec.init(1);
    let (mut next, mut gradient) = (params.clone(), params.clone());
    let mut model: Model = Model::new(spec, SEQUENCES);
    model.set_matmul(matmul);
    let step_of = |step: u64| {
        let start = usize::try_from(step).unwrap() * 7 % SENTENCE.len();
        let batch = Batch::Tokens {
            inputs: &text[start..][..SEQUENCES * CONTEXT],
            targets: &text[start + 1..][..SEQUENCES * CONTEXT],
            context: CONTEXT,
        };
        let sums = model.forward_backward(&params, &[batch], &mut gradient, &mut |_, _| {}).unwrap();
        let mut partials = Vec::new();
        norm_partials(&gradient, chunk_elems(gradient.len()), &mut partials);
        let clip = clip(fold_partials(&partials), sums.weight, train.clip);
        let scalars = StepScalars {
            learning_rate: train.learning_rate,
            gradient_scale: clip.gradient_scale,
            updates_before: step,
            skip: clip.skip,
        };
        optimizer.apply(&scalars, &params, &gradient, &mut next);
        std::mem::swap(&mut params, &mut next);
        sums.loss_sum / sums.weight
    };
    (0..train.steps).map(step_of).collect()
}

#[test]
fn bf16_factors_reach_about_the_loss_of_f32() {
    let (exact, rounded) = (losses(Matmul::F32), losses(Matmul::Bf16));
    let last = |losses: &[f64]| losses[losses.len() - 5..].iter().sum::<f64>() / 5.0;
    assert!(last(&exact) < 0.5 * exact[0], "f32 learns: {exact:?}");
    assert_ne!(exact[0], rounded[0], "factors are rounded");
    assert!((exact[0] - rounded[0]).abs() < 1e-2 * exact[0], "{} and {} at first", exact[0], rounded[0]);
    let (exact, rounded) = (last(&exact), last(&rounded));
    assert!((exact - rounded).abs() < 0.05 * exact, "f32 ends at {exact}, bf16 at {rounded}");
}

#[test]
fn a_job_that_says_nothing_multiplies_in_f32() {
    assert_eq!(train().matmul, Matmul::F32);
}
