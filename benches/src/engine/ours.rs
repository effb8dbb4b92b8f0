//! One training step of one worker on one thread: forward, backward, norm, clip, update.
//!
//! Inputs are random, which changes no operation's cost.

use std::time::Instant;

use anyhow::Context;
use hcrun_engine::batch::{Batch, Targets};
use hcrun_engine::clip::{clip, fold_partials, norm_partials};
use hcrun_engine::model::Model;
use hcrun_engine::optimizer::{Optimizer, StepScalars};
use hcrun_engine::spec::{DataShape, ModelSpec};
use hcrun_kernels::memory::{copy_of, zeros};
use hcrun_kernels::update::{Moments, Scalars, adamw};
use hcrun_protocol::Prng;
use hcrun_protocol::job::{self, Matmul, Train};
use hcrun_protocol::units::chunk_elems;

use super::workload::{Shape, Workload};

/// A workload set up, to be measured again and again.
pub(crate) struct Ours {
    steps: u64,
    step: Box<dyn FnMut() -> anyhow::Result<()>>,
    /// None where a rate says nothing.
    pub(crate) flops_per_step: Option<f64>,
}

impl Ours {
    pub(crate) fn new(workload: &Workload) -> anyhow::Result<Ours> {
        let (step, flops_per_step) = match &workload.shape {
            Shape::Gpt { context, sequences, matmul, .. } => {
                gpt(&workload.shape, *context as usize, *sequences as usize, *matmul)?
            }
            Shape::Mlp { rows, widths } => mlp(&workload.shape, *rows, widths)?,
            Shape::Adamw { elems } => (update(*elems), None),
        };
        Ok(Ours { steps: workload.steps, step, flops_per_step })
    }

    /// Seconds of a step: the mean over a round.
    pub(crate) fn measure(&mut self) -> anyhow::Result<f64> {
        // Outside of the clock: the other side has had the caches since the last time.
        for _ in 0..(self.steps / 10).max(1) {
            (self.step)()?;
        }
        let start = Instant::now();
        for _ in 0..self.steps {
            (self.step)()?;
        }
        Ok(start.elapsed().as_secs_f64() / self.steps as f64)
    }
}

type Step = (Box<dyn FnMut() -> anyhow::Result<()>>, Option<f64>);

fn gpt(shape: &Shape, context: usize, sequences: usize, matmul: Matmul) -> anyhow::Result<Step> {
    let spec = ModelSpec::new(&shape.model().context("a model")?, DataShape::Text { vocab: 256 })?;
    let mut draws = Prng::new(1);
    let text: Vec<u8> = (0..=sequences * context).map(|_| draws.next_u64().to_le_bytes()[0]).collect();
    let flops = spec.profile().flops_per_sample * sequences as f64;
    let mut trainer = Trainer::new(spec, sequences, matmul);
    let step =
        move || trainer.step(Batch::Tokens { inputs: &text[..text.len() - 1], targets: &text[1..], context });
    Ok((Box::new(step), Some(flops)))
}

fn mlp(shape: &Shape, rows: usize, widths: &[u32]) -> anyhow::Result<Step> {
    let (features, outputs) = (widths[0] as usize, widths[widths.len() - 1] as usize);
    let spec = ModelSpec::new(&shape.model().context("a model")?, DataShape::Table { features, outputs })?;
    let inputs = values(1, rows * features);
    let targets = values(2, rows);
    let mut draws = Prng::new(3);
    let classes: Vec<u32> = (0..rows).map(|_| draws.next_u64().to_le_bytes()[0]).map(u32::from).collect();
    let classes: Vec<u32> = classes.iter().map(|class| class % u32::try_from(outputs).unwrap_or(1)).collect();
    let flops = spec.profile().flops_per_sample * rows as f64;
    let mut trainer = Trainer::new(spec, rows, Matmul::F32);
    let step = move || {
        let targets = if outputs > 1 { Targets::Class(&classes) } else { Targets::Value(&targets) };
        trainer.step(Batch::Rows { features: &inputs, targets })
    };
    Ok((Box::new(step), Some(flops)))
}

fn update(elems: usize) -> Box<dyn FnMut() -> anyhow::Result<()>> {
    let (mut params, gradient) = (copy_of(&values(1, elems)), copy_of(&values(2, elems)));
    let (mut first, mut second, mut next) = (zeros(elems), zeros(elems), zeros(elems));
    let scalars = Scalars { learning_rate: 1e-3, gradient_scale: 1.0, weight_decay: 0.01 };
    let moments = Moments { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, step_size: 1e-3, correction2_sqrt: 1.0 };
    Box::new(move || {
        adamw(scalars, moments, &params, &gradient, &mut first, &mut second, &mut next);
        std::mem::swap(&mut params, &mut next);
        Ok(())
    })
}

/// What a worker holds of a model.
struct Trainer {
    train: Train,
    model: Model,
    optimizer: Optimizer,
    params: Vec<f32>,
    next: Vec<f32>,
    gradient: Vec<f32>,
    partials: Vec<f64>,
    updates: u64,
}

impl Trainer {
    fn new(spec: ModelSpec, samples: usize, matmul: Matmul) -> Trainer {
        let (train, profile) = (train(matmul), spec.profile());
        let params = copy_of(&spec.init(1));
        let mut model = Model::new(spec, samples);
        model.set_matmul(matmul);
        Trainer {
            model,
            optimizer: Optimizer::new(&train, &profile, std::iter::once(0..profile.arena_elems).collect()),
            train,
            next: zeros(params.len()),
            gradient: zeros(params.len()),
            params,
            partials: Vec::new(),
            updates: 0,
        }
    }

    fn step(&mut self, batch: Batch<'_>) -> anyhow::Result<()> {
        let sums = self.model.forward_backward(&self.params, &[batch], &mut self.gradient, &mut |_, _| {})?;
        self.partials.clear();
        norm_partials(&self.gradient, chunk_elems(self.gradient.len()), &mut self.partials);
        let clip = clip(fold_partials(&self.partials), sums.weight, self.train.clip);
        let scalars = StepScalars {
            learning_rate: self.train.learning_rate,
            gradient_scale: clip.gradient_scale,
            updates_before: self.updates,
            skip: clip.skip,
        };
        self.optimizer.apply(&scalars, &self.params, &self.gradient, &mut self.next);
        std::mem::swap(&mut self.params, &mut self.next);
        self.updates += 1;
        Ok(())
    }
}

fn train(matmul: Matmul) -> Train {
    Train {
        loss: job::Loss::CrossEntropy,
        optimizer: job::Optimizer::Adamw,
        learning_rate: 1e-3,
        final_learning_rate: 0.0,
        schedule: job::LearningRateSchedule::Constant,
        warmup_steps: 0,
        weight_decay: 0.01,
        momentum: 0.9,
        betas: [0.9, 0.999],
        epsilon: 1e-8,
        clip: 1.0,
        matmul,
        batch: 32,
        accumulation: 1,
        steps: 1,
        evaluate_every: 0,
        checkpoint_every: 0,
    }
}

/// Uniform over an interval, which is as good here and takes less time to make.
fn values(seed: u64, count: usize) -> Vec<f32> {
    let mut draws = Prng::new(seed);
    let uniform = |word: u64| f32::from(i16::from_le_bytes([word.to_le_bytes()[0], word.to_le_bytes()[1]]));
    (0..count).map(|_| uniform(draws.next_u64()) / 16_384.0).collect()
}
