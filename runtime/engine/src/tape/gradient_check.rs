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
    fn run(&self, parameters: usize, targets: Targets<'_>, build: impl Fn(&mut Graph, Value) -> Value) {
        let mut draws = Prng::new(3);
        let params: Vec<f64> = (0..parameters).map(|_| draws.normal() * 0.6).collect();
        let features: Vec<f32> = (0..self.rows * self.width).map(|_| draws.normal() as f32).collect();
        let mut graph = Graph::default();
        let input = graph.input(self.width);
        let predictions = build(&mut graph, input);
        graph.loss_of(predictions);
        let mut tape = Tape::<f64>::new(&graph, parameters, parameters);
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
    ROWS.run(4 * 3 + 3 + 3 * 2, Targets::Value(&values(10)), |graph, x| {
        let x = graph.linear(x, 3, 0..12, Some(12..15));
        graph.linear(x, 2, 15..21, None)
    });
}

#[test]
fn linear_that_shares_its_weight() {
    ROWS.run(16, Targets::Value(&values(20)), |graph, x| {
        let x = graph.linear(x, 4, 0..16, None);
        graph.linear(x, 4, 0..16, None)
    });
}

#[test]
fn cross_entropy() {
    ROWS.run(4 * 3 + 3, Targets::Class(&[0, 2, 1, 1, 2]), |graph, x| graph.linear(x, 3, 0..12, Some(12..15)));
}

#[test]
fn gelu() {
    ROWS.run(4 * 3 + 3, Targets::Value(&values(15)), |graph, x| {
        let x = graph.linear(x, 3, 0..12, Some(12..15));
        graph.gelu(x)
    });
}

#[test]
fn relu() {
    ROWS.run(4 * 3 + 3, Targets::Value(&values(15)), |graph, x| {
        let x = graph.linear(x, 3, 0..12, Some(12..15));
        graph.relu(x)
    });
}

#[test]
fn residual_and_values_with_several_uses() {
    ROWS.run(4 * 4 + 4 + 8, Targets::Value(&values(20)), |graph, x| {
        let x = graph.linear(x, 4, 0..16, Some(16..20));
        let bent = graph.gelu(x);
        let sum = graph.add(x, bent);
        let cut = graph.relu(x);
        let again = graph.layer_norm(x, 20..24, 24..28);
        let sum = graph.add(sum, cut);
        graph.add(sum, again)
    });
}

#[test]
fn layer_norm() {
    ROWS.run(4 * 4 + 8, Targets::Value(&values(20)), |graph, x| {
        let x = graph.linear(x, 4, 0..16, None);
        graph.layer_norm(x, 16..20, 20..24)
    });
}

#[test]
fn embedding_with_tied_head() {
    SEQUENCES.run(5 * 4 + 6 * 4, Targets::Class(&TOKENS.map(u32::from)), |graph, _| {
        let x = graph.embedding(4, 0..20, 20..44);
        let bent = graph.gelu(x);
        graph.linear(bent, 5, 0..20, None)
    });
}

#[test]
fn attention() {
    SEQUENCES.run(4 * 12 + 12, Targets::Value(&values(48)), |graph, x| {
        let qkv = graph.linear(x, 12, 0..48, Some(48..60));
        graph.attention(qkv, 2, 6)
    });
}

/// Longer than two tiles of query rows, so that keys gather gradients from several.
#[test]
fn attention_over_tiles() {
    let long = Check { rows: 2 * 131, length: 131, width: 2 };
    long.run(2 * 6, Targets::Value(&values(2 * 262)), |graph, x| {
        let qkv = graph.linear(x, 6, 0..12, None);
        graph.attention(qkv, 1, 131)
    });
}
