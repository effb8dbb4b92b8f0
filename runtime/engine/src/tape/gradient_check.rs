//! Every operation against central differences in f64.

#![expect(clippy::cast_possible_truncation, reason = "test data is rounded to f32")]

use hcrun_protocol::Prng;

use super::*;

/// Features fill `[rows, width]`, a linear layer makes them differentiable, then come the operations under
/// test, then the loss.
struct Check {
    rows: usize,
    length: usize,
    width: usize,
}

const TOKENS: [u8; 12] = [0, 3, 1, 1, 2, 4, 4, 0, 3, 2, 1, 4];

impl Check {
    /// Compares the gradients of all `parameters` of the tape that `build` makes.
    fn run(&self, parameters: usize, targets: Targets<'_>, build: impl Fn(&mut Tape<f64>, Value) -> Value) {
        let mut draws = Prng::new(3);
        let params: Vec<f64> = (0..parameters).map(|_| draws.normal() * 0.6).collect();
        let features: Vec<f32> = (0..self.rows * self.width).map(|_| draws.normal() as f32).collect();
        let mut tape = Tape::new();
        let input = tape.input(self.width);
        let predictions = build(&mut tape, input);
        tape.loss_of(predictions);
        let mut tape = tape.finish(parameters, parameters);
        let pass = Pass { rows: self.rows, length: self.length, tokens: &TOKENS, targets: Some(targets) };

        let mut gradient = vec![0.0; parameters];
        let mut ready = Vec::new();
        tape.forward(&params, &pass, Some((input, &features)), || {});
        tape.backward(&params, &mut gradient, &pass, |ranges, now| {
            ready.extend(ranges.iter().map(|range| (range.clone(), now[range.clone()].to_vec())));
        });
        for (range, values) in ready {
            assert_eq!(gradient[range.clone()], values, "{range:?} changed after it was ready");
        }

        let mut loss_at = |index: usize, step: f64| {
            let mut moved = params.clone();
            moved[index] += step;
            tape.forward(&moved, &pass, Some((input, &features)), || {});
            tape.loss()
        };
        const STEP: f64 = 1e-5;
        for (index, exact) in gradient.iter().enumerate() {
            let difference = (loss_at(index, STEP) - loss_at(index, -STEP)) / (2.0 * STEP);
            let error = (difference - exact).abs() / exact.abs().max(1.0);
            assert!(error < 1e-7, "parameter {index}: backward {exact}, differences {difference}");
        }
    }
}

fn values(elems: usize) -> Vec<f32> {
    let mut draws = Prng::new(4);
    (0..elems).map(|_| draws.normal() as f32).collect()
}

const ROWS: Check = Check { rows: 5, length: 1, width: 4 };
const SEQUENCES: Check = Check { rows: 12, length: 6, width: 4 };

#[test]
fn linear_with_and_without_bias() {
    ROWS.run(4 * 3 + 3 + 3 * 2, Targets::Value(&values(10)), |tape, x| {
        let x = Linear::push(tape, x, 3, 0..12, Some(12..15));
        Linear::push(tape, x, 2, 15..21, None)
    });
}

#[test]
fn linear_that_shares_its_weight() {
    ROWS.run(16, Targets::Value(&values(20)), |tape, x| {
        let x = Linear::push(tape, x, 4, 0..16, None);
        Linear::push(tape, x, 4, 0..16, None)
    });
}

#[test]
fn cross_entropy() {
    ROWS.run(4 * 3 + 3, Targets::Class(&[0, 2, 1, 1, 2]), |tape, x| {
        Linear::push(tape, x, 3, 0..12, Some(12..15))
    });
}

#[test]
fn gelu() {
    ROWS.run(4 * 3 + 3, Targets::Value(&values(15)), |tape, x| {
        let x = Linear::push(tape, x, 3, 0..12, Some(12..15));
        Activation::gelu(tape, x)
    });
}

#[test]
fn relu() {
    ROWS.run(4 * 3 + 3, Targets::Value(&values(15)), |tape, x| {
        let x = Linear::push(tape, x, 3, 0..12, Some(12..15));
        Activation::relu(tape, x)
    });
}

#[test]
fn residual_and_values_with_several_uses() {
    ROWS.run(4 * 4 + 4 + 8, Targets::Value(&values(20)), |tape, x| {
        let x = Linear::push(tape, x, 4, 0..16, Some(16..20));
        let bent = Activation::gelu(tape, x);
        let sum = tape.add(x, bent);
        let cut = Activation::relu(tape, x);
        let again = tape.layer_norm(x, 20..24, 24..28);
        let sum = tape.add(sum, cut);
        tape.add(sum, again)
    });
}

#[test]
fn layer_norm() {
    ROWS.run(4 * 4 + 8, Targets::Value(&values(20)), |tape, x| {
        let x = Linear::push(tape, x, 4, 0..16, None);
        tape.layer_norm(x, 16..20, 20..24)
    });
}

#[test]
fn embedding_with_tied_head() {
    SEQUENCES.run(5 * 4 + 6 * 4, Targets::Class(&TOKENS.map(u32::from)), |tape, _| {
        let x = tape.embedding(4, 0..20, 20..44);
        let bent = Activation::gelu(tape, x);
        Linear::push(tape, bent, 5, 0..20, None)
    });
}

#[test]
fn attention() {
    SEQUENCES.run(4 * 12 + 12, Targets::Value(&values(48)), |tape, x| {
        let qkv = Linear::push(tape, x, 12, 0..48, Some(48..60));
        tape.attention(qkv, 2, 6)
    });
}

/// Longer than two tiles of query rows, so that keys gather gradients from several.
#[test]
fn attention_over_tiles() {
    let long = Check { rows: 2 * 131, length: 131, width: 2 };
    long.run(2 * 6, Targets::Value(&values(2 * 262)), |tape, x| {
        let qkv = Linear::push(tape, x, 6, 0..12, None);
        tape.attention(qkv, 1, 131)
    });
}
