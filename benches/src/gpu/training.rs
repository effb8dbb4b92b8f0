//! Training a GPT on the card: its losses beside the CPU's, and tokens a second of GPT-2's smallest model.

use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::ensure;
use hcrun_engine::batch::Batch;
use hcrun_engine::clip::{clip, fold_partials, norm_partials};
use hcrun_engine::device::DeviceModel;
use hcrun_engine::model::Model;
use hcrun_engine::optimizer::{Optimizer, StepScalars};
use hcrun_engine::spec::{DataShape, ModelSpec};
use hcrun_kernels::device::Device;
use hcrun_protocol::Prng;
use hcrun_protocol::job::{self, Train};
use hcrun_protocol::units::chunk_elems;
use serde::Serialize;

/// What is trained.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    pub(super) layers: u32,
    pub(super) width: u32,
    pub(super) heads: u32,
    pub(super) context: u32,
    pub(super) vocabulary: usize,
    pub(super) sequences: usize,
    pub(super) steps: usize,
}

/// GPT-2 124M; its vocabulary is rounded up to a multiple of 128, as is usual. Tokens are bytes, so that rows of the
/// others are never looked up; all of them are predicted.
pub(super) const GPT2: Shape =
    Shape { layers: 12, width: 768, heads: 12, context: 1024, vocabulary: 50_304, sequences: 16, steps: 50 };

/// Small enough to train on the CPU beside it.
pub(super) const SMALL: Shape =
    Shape { layers: 2, width: 128, heads: 4, context: 128, vocabulary: 256, sequences: 4, steps: 10 };

/// For tests, on the emulator.
pub(super) const TINY: Shape =
    Shape { layers: 1, width: 32, heads: 2, context: 32, vocabulary: 264, sequences: 2, steps: 3 };

#[derive(Debug, Clone, Serialize)]
pub(super) struct Training {
    parameters: usize,
    tokens_a_step: usize,
    steps: usize,
    first_loss: f64,
    last_loss: f64,
    /// Whole steps: gradients go to the host and come back for the update, as in a worker.
    pub(super) tokens_per_s: f64,
    /// Forward and backward alone, until the gradient is on the host.
    pass_tokens_per_s: f64,
    /// Of whole steps, by [`Shape::flops_per_token`].
    flops_per_s: f64,
    /// Of the card's dense bf16 rate; None where it is not known.
    model_flop_utilisation: Option<f64>,
}

impl Shape {
    fn spec(&self) -> anyhow::Result<ModelSpec> {
        let Shape { layers, width, heads, context, vocabulary, .. } = *self;
        let model = job::Model::Gpt { layers, width, heads, context };
        Ok(ModelSpec::new(&model, DataShape::Text { vocab: vocabulary })?)
    }

    fn context(&self) -> usize {
        self.context as usize
    }

    fn tokens(&self) -> usize {
        self.sequences * self.context()
    }

    /// Bytes that can be learned: each follows from the one before, most of the time.
    fn text(&self) -> Vec<u8> {
        let mut draws = Prng::new(7);
        let mut last = 0_u8;
        let mut next = || {
            last = if draws.below(8) == 0 {
                draws.next_u64().to_le_bytes()[0]
            } else {
                last.wrapping_mul(5).wrapping_add(3)
            };
            last
        };
        (0..self.tokens() + 1).map(|_| next()).collect()
    }

    /// Multiplications and additions of a token, forward and backward, masked halves left out: six for each weight of a
    /// product, and six for each of a head's products with the half of the keys that a token sees on average.
    fn flops_per_token(&self) -> f64 {
        let Shape { layers, width, context, vocabulary, .. } = *self;
        let (layers, width, context) = (f64::from(layers), f64::from(width), f64::from(context));
        6.0 * (layers * 12.0 * width * width + vocabulary as f64 * width + layers * width * context)
    }
}

fn train() -> Train {
    Train {
        loss: job::Loss::CrossEntropy,
        optimizer: job::Optimizer::Adamw,
        learning_rate: 1e-3,
        final_learning_rate: 0.0,
        schedule: job::LearningRateSchedule::Constant,
        warmup_steps: 0,
        weight_decay: 0.1,
        momentum: 0.9,
        betas: [0.9, 0.95],
        epsilon: 1e-8,
        clip: 1.0,
        matmul: job::Matmul::Bf16,
        batch: 4,
        accumulation: 1,
        steps: 1,
        evaluate_every: 0,
        checkpoint_every: 0,
    }
}

fn scalars(gradient: &[f32], weight: f64, step: u64) -> StepScalars {
    let mut partials = Vec::new();
    norm_partials(gradient, chunk_elems(gradient.len()), &mut partials);
    of_partials(&partials, weight, step)
}

/// As [`scalars`], of the gradient that is on the device.
fn device_scalars(model: &mut DeviceModel, weight: f64, step: u64) -> anyhow::Result<StepScalars> {
    let (elems, mut partials) = (model.arena_elems(), Vec::new());
    model.norm_partials(&(0..elems), chunk_elems(elems), &mut partials)?;
    Ok(of_partials(&partials, weight, step))
}

fn of_partials(partials: &[f64], weight: f64, step: u64) -> StepScalars {
    let clip = clip(fold_partials(partials), weight, 1.0);
    StepScalars {
        learning_rate: 1e-3,
        gradient_scale: clip.gradient_scale,
        updates_before: step,
        skip: clip.skip,
    }
}

#[expect(clippy::single_range_in_vec_init, reason = "one owned range, the whole arena")]
fn on(device: Rc<dyn Device>, shape: &Shape, spec: &ModelSpec) -> anyhow::Result<DeviceModel> {
    let owned = vec![0..spec.arena_elems()];
    Ok(DeviceModel::new(device, spec.clone(), &train(), shape.sequences, owned, &spec.init(1))?)
}

/// Trains, and says how fast; the first steps, which load code and make room, are not counted. Ends early, with what
/// it has, when `end` comes.
pub(super) fn measure(
    device: Rc<dyn Device>,
    shape: &Shape,
    peak_flops_per_s: Option<f64>,
    end: Instant,
) -> anyhow::Result<Training> {
    const WARM_UP: usize = 2;
    let spec = shape.spec()?;
    let mut model = on(device, shape, &spec)?;
    let text = shape.text();
    let batch =
        Batch::Tokens { inputs: &text[..shape.tokens()], targets: &text[1..], context: shape.context() };
    let (mut losses, mut passes, mut whole) = (Vec::new(), Duration::ZERO, Duration::ZERO);
    for step in 0..WARM_UP + shape.steps {
        if step > WARM_UP && Instant::now() >= end {
            break;
        }
        let start = Instant::now();
        let sums = model.forward_backward(&[batch], &mut |_| {})?;
        let passed = start.elapsed();
        let update = Instant::now();
        let scalars = device_scalars(&mut model, sums.weight, step as u64)?;
        model.update(&scalars)?;
        model.advance()?;
        losses.push(sums.loss_sum / sums.weight);
        if step >= WARM_UP {
            passes += passed;
            whole += passed + update.elapsed();
        }
    }
    let steps = losses.len() - WARM_UP;
    let rate = |time: Duration| (steps * shape.tokens()) as f64 / time.as_secs_f64();
    let flops_per_s = rate(whole) * shape.flops_per_token();
    Ok(Training {
        parameters: spec.profile().parameters,
        tokens_a_step: shape.tokens(),
        steps,
        first_loss: losses[0],
        last_loss: losses[losses.len() - 1],
        tokens_per_s: rate(whole),
        pass_tokens_per_s: rate(passes),
        flops_per_s,
        model_flop_utilisation: peak_flops_per_s.map(|peak| flops_per_s / peak),
    })
}

/// That the losses of a small model are those of the CPU.
pub(super) fn compare(device: Rc<dyn Device>, shape: &Shape) -> anyhow::Result<()> {
    let spec = shape.spec()?;
    let mut on_device = on(device, shape, &spec)?;
    let mut on_cpu: Model = Model::new(spec.clone(), shape.sequences);
    let whole = std::iter::once(0..spec.arena_elems()).collect();
    let mut optimizer = Optimizer::new(&train(), &spec.profile(), whole);
    let (mut parameters, mut next) = (spec.init(1), vec![0.0; spec.arena_elems()]);
    let mut gradient = next.clone();
    let text = shape.text();
    let batch =
        Batch::Tokens { inputs: &text[..shape.tokens()], targets: &text[1..], context: shape.context() };
    let mut first = None;
    for step in 0..shape.steps {
        let cpu = on_cpu.forward_backward(&parameters, &[batch], &mut gradient, &mut |_, _| {})?;
        let device = on_device.forward_backward(&[batch], &mut |_| {})?;
        let (cpu_loss, device_loss) = (cpu.loss_sum / cpu.weight, device.loss_sum / device.weight);
        let allowed = 0.02 * *first.get_or_insert(cpu_loss);
        ensure!(
            (cpu_loss - device_loss).abs() < allowed,
            "step {step}: loss {device_loss}, on the CPU {cpu_loss}"
        );
        optimizer.apply(&scalars(&gradient, cpu.weight, step as u64), &parameters, &gradient, &mut next);
        std::mem::swap(&mut parameters, &mut next);
        let scalars = device_scalars(&mut on_device, device.weight, step as u64)?;
        on_device.update(&scalars)?;
        on_device.advance()?;
    }
    Ok(())
}

/// Dense bf16 with f32 sums, as NVIDIA's data sheets say it, by a part of the card's name.
pub(super) fn peak_flops_per_s(card: &str) -> Option<f64> {
    let known =
        [("H100 PCIe", 756e12), ("H100", 989e12), ("H200", 989e12), ("A100", 312e12), ("L40S", 362e12)];
    known.into_iter().find(|(name, _)| card.contains(name)).map(|(_, peak)| peak)
}

#[cfg(test)]
mod tests {
    use hcrun_emulator::Emulator;

    use super::*;

    #[test]
    fn a_training_is_measured_and_compared() {
        compare(Rc::new(Emulator::new(1)), &TINY).unwrap();
        let end = Instant::now() + Duration::from_secs(3600);
        let training = measure(Rc::new(Emulator::new(1)), &TINY, Some(1e12), end).unwrap();
        assert_eq!((training.steps, training.tokens_a_step), (3, 64));
        assert!(training.last_loss < training.first_loss, "{training:?}");
        assert!(training.pass_tokens_per_s >= training.tokens_per_s, "{training:?}");
    }

    #[test]
    fn time_that_is_over_ends_it_after_one_step() {
        let training = measure(Rc::new(Emulator::new(1)), &TINY, None, Instant::now()).unwrap();
        assert_eq!((training.steps, training.model_flop_utilisation), (1, None));
    }

    #[test]
    fn work_is_counted_as_in_the_literature() {
        // 744 + 57 MFLOP a token of GPT-2 at a context of 1,024, and what its padded vocabulary adds.
        let counted = GPT2.flops_per_token() / 1e6;
        assert!((counted - 801.0).abs() < 3.0, "{counted}");
        assert_eq!(peak_flops_per_s("NVIDIA H100 80GB HBM3"), Some(989e12));
        assert_eq!(peak_flops_per_s("Fake"), None);
    }
}
