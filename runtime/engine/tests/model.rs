//! Both models as a whole: gradients against finite differences, sums over micro-batches, ready ranges.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]
#![expect(clippy::cast_possible_truncation, reason = "test data is rounded to f32")]

use std::ops::Range;

use hcrun_engine::batch::{Batch, BatchError, Inputs, Sums, Targets};
use hcrun_engine::model::Model;
use hcrun_engine::spec::{DataShape, ModelSpec};
use hcrun_protocol::{Prng, job};

fn gpt() -> ModelSpec {
    let model = job::Model::Gpt { layers: 2, width: 8, heads: 2, context: 6 };
    ModelSpec::new(&model, DataShape::Text { vocab: 256 }).unwrap()
}

fn mlp(outputs: usize) -> ModelSpec {
    let model = job::Model::Mlp { hidden: vec![7, 5] };
    ModelSpec::new(&model, DataShape::Table { features: 4, outputs }).unwrap()
}

/// Larger than the initial parameters of a GPT, so that every path carries gradient.
fn params(spec: &ModelSpec) -> Vec<f64> {
    let mut draws = Prng::new(5);
    let parameters = spec.profile().parameters;
    (0..spec.arena_elems()).map(|i| if i < parameters { draws.normal() * 0.3 } else { 0.0 }).collect()
}

fn text(bytes: usize) -> Vec<u8> {
    let mut draws = Prng::new(6);
    (0..bytes).map(|_| b"the cat sat"[draws.below(11) as usize]).collect()
}

fn features(rows: usize) -> Vec<f32> {
    let mut draws = Prng::new(7);
    (0..rows * 4).map(|_| draws.normal() as f32).collect()
}

/// Ready ranges and their values, in order of arrival.
type Ready = Vec<(Range<usize>, Vec<f64>)>;

fn run(spec: &ModelSpec, params: &[f64], batches: &[Batch<'_>]) -> (Sums, Vec<f64>, Ready) {
    let mut model = Model::new(spec.clone(), 2);
    let mut gradient = vec![f64::NAN; spec.arena_elems()];
    let mut ready = Vec::new();
    let sums = model
        .forward_backward(params, batches, &mut gradient, &mut |range, values| {
            ready.push((range, values.to_vec()));
        })
        .unwrap();
    (sums, gradient, ready)
}

/// Central differences for every `stride`-th parameter.
fn check_gradient(spec: &ModelSpec, batches: &[Batch<'_>], stride: usize) {
    let params = params(spec);
    let (_, gradient, _) = run(spec, &params, batches);
    let mut model = Model::new(spec.clone(), 8);
    let mut loss_at = |index: usize, step: f64| {
        let mut moved = params.clone();
        moved[index] += step;
        let sums = batches.iter().map(|batch| model.evaluate(&moved, *batch).unwrap());
        sums.map(|sums| sums.loss_sum).sum::<f64>()
    };
    const STEP: f64 = 1e-5;
    for index in (0..spec.profile().parameters).step_by(stride) {
        let difference = (loss_at(index, STEP) - loss_at(index, -STEP)) / (2.0 * STEP);
        let error = (difference - gradient[index]).abs() / gradient[index].abs().max(1.0);
        assert!(error < 1e-6, "parameter {index}: backward {}, differences {difference}", gradient[index]);
    }
}

#[test]
fn gpt_gradient_equals_finite_differences() {
    let text = text(19);
    let batch = Batch::Tokens { inputs: &text[..18], targets: &text[1..], context: 6 };
    check_gradient(&gpt(), &[batch], 7);
}

#[test]
fn mlp_gradients_equal_finite_differences() {
    let features = features(6);
    let classes = Batch::Rows { features: &features, targets: Targets::Class(&[0, 2, 1, 1, 0, 2]) };
    check_gradient(&mlp(3), &[classes], 1);
    let values =
        Batch::Rows { features: &features, targets: Targets::Value(&[0.5, -1.0, 2.0, 0.0, 1.0, 0.2]) };
    check_gradient(&mlp(1), &[values], 1);
}

#[test]
fn micro_batches_sum_to_the_whole_batch() {
    let (spec, text) = (gpt(), text(25));
    let params = params(&spec);
    let part = |range: Range<usize>, context| Batch::Tokens {
        inputs: &text[range.clone()],
        targets: &text[range.start + 1..range.end + 1],
        context,
    };
    let (whole_sums, whole, _) = run(&spec, &params, &[part(0..24, 6)]);
    // An empty part, an uneven split, an empty end.
    let parts = [part(0..0, 6), part(0..6, 6), part(6..24, 6), part(24..24, 6)];
    let (sums, gradient, _) = run(&spec, &params, &parts);
    assert_eq!((sums.weight, whole_sums.weight), (24.0, 24.0));
    assert!((sums.loss_sum - whole_sums.loss_sum).abs() < 1e-9);
    assert!(gradient.iter().zip(&whole).all(|(a, b)| (a - b).abs() < 1e-9));
}

#[test]
fn ready_ranges_cover_the_arena_once_from_its_end_and_are_final() {
    let text = text(19);
    let part = |range: Range<usize>| Batch::Tokens {
        inputs: &text[range.clone()],
        targets: &text[range.start + 1..range.end + 1],
        context: 6,
    };
    let features = features(3);
    let rows = Batch::Rows { features: &features, targets: Targets::Value(&[0.5, -1.0, 2.0]) };
    let cases: [(ModelSpec, Vec<Batch<'_>>); 4] =
        [(gpt(), vec![part(0..6), part(6..18)]), (gpt(), vec![]), (mlp(1), vec![rows]), (mlp(1), vec![])];
    for (spec, batches) in cases {
        let (_, gradient, ready) = run(&spec, &params(&spec), &batches);
        let mut end = spec.arena_elems();
        for (range, values) in &ready {
            assert_eq!(range.end, end, "ranges arrive from the end: {range:?}");
            assert_eq!(gradient[range.clone()], *values, "{range:?} changed after it was ready");
            end = range.start;
        }
        assert_eq!(end, 0);
        assert!(gradient[spec.profile().parameters..].iter().all(|x| *x == 0.0));
        if batches.is_empty() {
            assert!(gradient.iter().all(|x| *x == 0.0));
        } else {
            assert!(ready.len() > 1, "a gradient that is ready only at the end overlaps nothing");
        }
    }
}

/// Parts of any size, and a window shorter than the context, give the sums of single windows.
#[test]
fn evaluation_is_a_sum_over_windows() {
    let (spec, text) = (gpt(), text(100));
    let params = params(&spec);
    let mut model = Model::new(spec.clone(), 2);
    let window = |range: Range<usize>, context| Batch::Tokens {
        inputs: &text[range.clone()],
        targets: &text[range.start + 1..range.end + 1],
        context,
    };
    let whole = model.evaluate(&params, window(0..30, 6)).unwrap();
    assert_eq!(whole.weight, 30.0);
    let mut sum = hcrun_engine::batch::EvalSums::default();
    (0..30)
        .step_by(6)
        .for_each(|start| sum.add(model.evaluate(&params, window(start..start + 6, 6)).unwrap()));
    assert!((whole.loss_sum - sum.loss_sum).abs() < 1e-9);
    assert_eq!((whole.weight, whole.correct), (sum.weight, sum.correct));

    // Causal: the first rows of a short window are those of the long one.
    let short = model.predict(&params, Inputs::Tokens { inputs: &text[..4], context: 4 }).unwrap();
    let long = model.predict(&params, Inputs::Tokens { inputs: &text[..6], context: 6 }).unwrap();
    assert!(short.iter().zip(&long).all(|(a, b)| (a - b).abs() < 1e-12));
}

#[test]
fn evaluation_counts_right_classes_and_squared_errors() {
    let features = features(5);
    let spec = mlp(3);
    let mut model = Model::<f64>::new(spec.clone(), 2);
    let logits = model.predict(&params(&spec), Inputs::Rows { features: &features }).unwrap();
    let best = |row: &[f64]| (0..3).max_by(|a, b| row[*a].total_cmp(&row[*b])).unwrap();
    let mut classes: Vec<u32> = logits.chunks(3).map(|row| best(row) as u32).collect();
    classes[4] = (classes[4] + 1) % 3;
    let batch = Batch::Rows { features: &features, targets: Targets::Class(&classes) };
    let sums = model.evaluate(&params(&spec), batch).unwrap();
    assert_eq!((sums.correct, sums.weight, sums.squared_error), (4.0, 5.0, 0.0));

    let spec = mlp(1);
    let mut model = Model::<f64>::new(spec.clone(), 2);
    let values = model.predict(&params(&spec), Inputs::Rows { features: &features }).unwrap();
    let targets: Vec<f32> = values.iter().map(|x| (*x + 2.0) as f32).collect();
    let batch = Batch::Rows { features: &features, targets: Targets::Value(&targets) };
    let sums = model.evaluate(&params(&spec), batch).unwrap();
    assert!((sums.squared_error - 20.0).abs() < 1e-5 && sums.loss_sum == sums.squared_error);
}

#[test]
fn batches_that_do_not_fit_are_refused() {
    let text = text(20);
    let mut gpt_model = Model::<f64>::new(gpt(), 2);
    let gpt_params = params(&gpt());
    let mut refuse = |batch| gpt_model.evaluate(&gpt_params, batch).unwrap_err();
    let tokens = |inputs: Range<usize>, targets: Range<usize>, context| Batch::Tokens {
        inputs: &text[inputs],
        targets: &text[targets],
        context,
    };
    assert_eq!(refuse(tokens(0..7, 0..7, 7)), BatchError::Context { got: 7, context: 6 });
    assert_eq!(refuse(tokens(0..0, 0..0, 0)), BatchError::Context { got: 0, context: 6 });
    assert_eq!(refuse(tokens(0..7, 0..7, 6)), BatchError::Ragged { got: 7, width: 6 });
    assert_eq!(refuse(tokens(0..6, 0..5, 6)), BatchError::TargetCount { got: 5, expected: 6 });
    let rows = |features, targets| Batch::Rows { features, targets };
    let class = rows(&[0.0; 4], Targets::Class(&[3]));
    assert_eq!(refuse(class), BatchError::Kind { got: "rows", expected: "text" });

    let mut mlp_model = Model::<f64>::new(mlp(3), 2);
    let mlp_params = params(&mlp(3));
    let mut refuse = |batch| mlp_model.evaluate(&mlp_params, batch).unwrap_err();
    assert_eq!(refuse(class), BatchError::Class { got: 3, row: 0, outputs: 3 });
    assert_eq!(refuse(rows(&[0.0; 5], Targets::Class(&[0]))), BatchError::Ragged { got: 5, width: 4 });
    let value = rows(&[0.0; 8], Targets::Value(&[0.0]));
    assert_eq!(refuse(value), BatchError::TargetCount { got: 1, expected: 6 });
}
