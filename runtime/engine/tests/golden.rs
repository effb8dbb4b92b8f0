//! Losses, gradients, optimizers and loss curves against PyTorch: `scripts/golden/engine.py` wrote the files.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]
#![expect(clippy::cast_possible_truncation, reason = "test data is rounded to f32")]
#![expect(clippy::single_range_in_vec_init, reason = "one owned range, the whole arena")]

use std::rc::Rc;

use hcrun_emulator::Emulator;
use hcrun_engine::batch::{Batch, Targets};
use hcrun_engine::clip::{clip, fold_partials, norm_partials};
use hcrun_engine::device::DeviceModel;
use hcrun_engine::learning_rate::learning_rate;
use hcrun_engine::model::Model;
use hcrun_engine::optimizer::{Optimizer, StepScalars};
use hcrun_engine::spec::{DataShape, ModelSpec};
use hcrun_protocol::job::{self, LearningRateSchedule, Loss, Train};
use hcrun_protocol::units::chunk_elems;
use safetensors::SafeTensors;
use serde_json::Value;

const CONTEXT: usize = 8;
const SEQUENCES: usize = 3;
const ROWS: usize = 10;
const FEATURES: usize = 6;
const CLASSES: usize = 3;

/// A number in [-0.5, 0.5) from an index, as the script draws it.
fn spread(index: usize) -> f64 {
    (index as u64 * 2_654_435_761 % (1 << 32)) as f64 / (1u64 << 32) as f64 - 0.5
}

fn params(spec: &ModelSpec) -> Vec<f32> {
    let mut arena = vec![0.0; spec.arena_elems()];
    for segment in spec.profile().segments {
        let norm_scale = segment.name.contains(".ln_") && segment.name.ends_with("weight");
        let start = if norm_scale { 1.0 } else { 0.0 };
        let values = arena.iter_mut().enumerate().skip(segment.offset).take(segment.elems());
        values.for_each(|(i, value)| *value = (start + 0.4 * spread(i)) as f32);
    }
    arena
}

fn golden() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/golden.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Case {
    Gpt,
    Class,
    Value,
}

const CASES: [(Case, &str); 3] = [(Case::Gpt, "gpt"), (Case::Class, "class"), (Case::Value, "value")];

/// The data of one step, owned.
struct StepData {
    text: Vec<u8>,
    features: Vec<f32>,
    classes: Vec<u32>,
    values: Vec<f32>,
}

impl Case {
    fn spec(self) -> ModelSpec {
        let mlp = job::Model::Mlp { hidden: vec![12, 7] };
        match self {
            Case::Gpt => {
                let model = job::Model::Gpt { layers: 2, width: 16, heads: 2, context: 8 };
                ModelSpec::new(&model, DataShape::Text { vocab: 256 })
            }
            Case::Class => ModelSpec::new(&mlp, DataShape::Table { features: FEATURES, outputs: CLASSES }),
            Case::Value => ModelSpec::new(&mlp, DataShape::Table { features: FEATURES, outputs: 1 }),
        }
        .unwrap()
    }

    fn data(step: usize) -> StepData {
        let byte = |i| 97 + u8::try_from((i + 3 * step) * (i + 5) / 4 % 26).unwrap();
        StepData {
            text: (0..=SEQUENCES * CONTEXT).map(byte).collect(),
            features: (0..ROWS * FEATURES)
                .map(|i| (2.0 * spread(1000 + step * ROWS * FEATURES + i)) as f32)
                .collect(),
            classes: (0..ROWS).map(|row| ((row * row + step) % CLASSES) as u32).collect(),
            values: (0..ROWS).map(|row| (3.0 * spread(7000 + step * ROWS + row)) as f32).collect(),
        }
    }

    fn batch(self, data: &StepData) -> Batch<'_> {
        let StepData { text, features, classes, values } = data;
        match self {
            Case::Gpt => {
                Batch::Tokens { inputs: &text[..text.len() - 1], targets: &text[1..], context: CONTEXT }
            }
            Case::Class => Batch::Rows { features, targets: Targets::Class(classes) },
            Case::Value => Batch::Rows { features, targets: Targets::Value(values) },
        }
    }
}

#[test]
fn losses_and_gradients_equal_pytorch() {
    for (case, name) in CASES {
        let spec = case.spec();
        let mut gradient = vec![0.0; spec.arena_elems()];
        let mut model = Model::new(spec.clone(), SEQUENCES);
        let data = Case::data(0);
        let sums = model
            .forward_backward(&params(&spec), &[case.batch(&data)], &mut gradient, &mut |_, _| {})
            .unwrap();
        assert_pytorch(name, &spec, (sums.loss_sum, 1e-5), (&gradient, 2e-5));
    }
}

/// Values are bf16 there: of about three digits, and a gradient has passed through many.
#[test]
fn losses_and_gradients_on_a_device_are_those_of_pytorch() {
    for (case, name) in CASES {
        let spec = case.spec();
        let train = train(job::Optimizer::Sgd, 0.1, 0.0);
        let (device, owned) = (Rc::new(Emulator::new(1)), vec![0..spec.arena_elems()]);
        let mut model =
            DeviceModel::new(device, spec.clone(), &train, SEQUENCES, owned, &params(&spec)).unwrap();
        let (mut gradient, data) = (Vec::new(), Case::data(0));
        let sums = model.forward_backward(&[case.batch(&data)], &mut |_| {}).unwrap();
        model.read_gradient(&(0..spec.arena_elems()), &mut gradient).unwrap();
        assert_pytorch(name, &spec, (sums.loss_sum, 1e-2), (&gradient, 5e-2));
    }
}

/// Both with their tolerance: of the loss, and of the largest element of each segment.
fn assert_pytorch(
    name: &str,
    spec: &ModelSpec,
    (loss, of_loss): (f64, f64),
    (gradient, of_largest): (&[f32], f32),
) {
    let expected = golden()["losses"][name].as_f64().unwrap();
    assert!((loss - expected).abs() < of_loss * expected, "{name}: loss {loss} for {expected}");
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata");
    let file = std::fs::read(format!("{folder}/{name}_gradient.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&file).unwrap();
    let profile = spec.profile();
    assert_eq!(tensors.len(), profile.segments.len());
    for segment in &profile.segments {
        let tensor = tensors.tensor(&segment.name).unwrap();
        assert_eq!(tensor.shape(), segment.shape, "{}", segment.name);
        let expected: Vec<f32> =
            tensor.data().as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        let scale = expected.iter().fold(1e-3_f32, |most, x| most.max(x.abs()));
        let ours = &gradient[segment.offset..][..expected.len()];
        for (i, (a, b)) in ours.iter().zip(&expected).enumerate() {
            assert!((a - b).abs() < of_largest * scale, "{name}, {} [{i}]: {a} for {b}", segment.name);
        }
    }
}

fn train(optimizer: job::Optimizer, learning_rate: f64, clip: f64) -> Train {
    Train {
        loss: Loss::CrossEntropy,
        optimizer,
        learning_rate,
        final_learning_rate: learning_rate / 10.0,
        schedule: LearningRateSchedule::Cosine,
        warmup_steps: 5,
        weight_decay: 0.1,
        momentum: 0.9,
        betas: [0.9, 0.95],
        epsilon: 1e-8,
        clip,
        matmul: job::Matmul::F32,
        batch: 1,
        accumulation: 1,
        steps: 20,
        evaluate_every: 0,
        checkpoint_every: 0,
    }
}

/// Mean losses of 20 whole steps over four batches in turn: forward, backward, norm, clip, schedule, update.
fn curve(case: Case, train: &Train) -> Vec<f64> {
    let spec = case.spec();
    let elems = spec.arena_elems();
    let mut optimizer = Optimizer::new(train, &spec.profile(), vec![0..elems]);
    let (mut params, mut next, mut gradient) = (params(&spec), vec![0.0; elems], vec![0.0; elems]);
    let mut model = Model::new(spec, SEQUENCES);
    let mut losses = Vec::new();
    for step in 0..train.steps {
        let data = Case::data(usize::try_from(step % 4).unwrap());
        let sums =
            model.forward_backward(&params, &[case.batch(&data)], &mut gradient, &mut |_, _| {}).unwrap();
        let mut partials = Vec::new();
        norm_partials(&gradient, chunk_elems(elems), &mut partials);
        let clipped = clip(fold_partials(&partials), sums.weight, train.clip);
        let scalars = StepScalars {
            learning_rate: learning_rate(train, step),
            gradient_scale: clipped.gradient_scale,
            updates_before: step,
            skip: clipped.skip,
        };
        optimizer.apply(&scalars, &params, &gradient, &mut next);
        std::mem::swap(&mut params, &mut next);
        losses.push(sums.loss_sum / sums.weight);
    }
    losses
}

#[test]
fn twenty_steps_have_the_losses_of_pytorch() {
    let golden = golden();
    let trains = [
        train(job::Optimizer::Adamw, 3e-3, 1.0),
        train(job::Optimizer::Nesterov, 0.1, 0.5),
        train(job::Optimizer::Adam, 0.01, 1.0),
    ];
    for ((case, name), train) in CASES.into_iter().zip(trains) {
        let expected = numbers(&golden["curves"][name]);
        let losses = curve(case, &train);
        assert_eq!(losses.len(), expected.len());
        for (step, (ours, theirs)) in losses.iter().zip(&expected).enumerate() {
            assert!((ours - theirs).abs() < 1e-3, "{name}, step {step}: {ours} for {theirs}");
        }
    }
}

#[test]
fn optimizers_equal_pytorch_on_a_small_vector() {
    let golden = golden();
    let model = job::Model::Mlp { hidden: vec![] };
    let spec = ModelSpec::new(&model, DataShape::Table { features: 3, outputs: 2 }).unwrap();
    for (kind, name) in [
        (job::Optimizer::Sgd, "sgd"),
        (job::Optimizer::Momentum, "momentum"),
        (job::Optimizer::Nesterov, "nesterov"),
        (job::Optimizer::Adam, "adam"),
        (job::Optimizer::Adamw, "adamw"),
    ] {
        let elems = spec.arena_elems();
        let mut optimizer = Optimizer::new(&train(kind, 0.05, 0.0), &spec.profile(), vec![0..elems]);
        let mut params = params(&spec);
        for step in 0..5 {
            // Sums over four samples, whose mean is the gradient of the script.
            let sum = |i| if i < 8 { (4.0 * spread(100 * (step + 1) + i)) as f32 } else { 0.0 };
            let gradient: Vec<f32> = (0..elems).map(sum).collect();
            let scalars = StepScalars {
                learning_rate: 0.05,
                gradient_scale: 0.25,
                updates_before: step as u64,
                skip: false,
            };
            let mut next = vec![0.0; elems];
            optimizer.apply(&scalars, &params, &gradient, &mut next);
            params = next;
        }
        for (i, (ours, theirs)) in params.iter().zip(numbers(&golden["optimizers"][name])).enumerate() {
            assert!((f64::from(*ours) - theirs).abs() < 3e-7, "{name} [{i}]: {ours} for {theirs}");
        }
    }
}
