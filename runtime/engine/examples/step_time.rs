//! Milliseconds of one training step on one core: forward, backward and update of the GPT of `examples/gpt`.
//!
//! `cargo run --release -p hcrun-engine --example step_time [SEQUENCES]`

#![expect(clippy::print_stdout, reason = "prints a measurement")]

use std::time::Instant;

use hcrun_engine::batch::Batch;
use hcrun_engine::model::Model;
use hcrun_engine::spec::{DataShape, ModelSpec};
use hcrun_protocol::Prng;
use hcrun_protocol::job;

const CONTEXT: usize = 64;

fn main() {
    let sequences = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(8);
    let model = job::Model::Gpt { layers: 2, width: 96, heads: 4, context: 64 };
    let spec = ModelSpec::new(&model, DataShape::Text { vocab: 256 }).expect("the shape is right");
    let params = spec.init(1);
    let mut gradient = vec![0.0; params.len()];
    let mut draws = Prng::new(1);
    let text: Vec<u8> = (0..=sequences * CONTEXT).map(|_| draws.next_u64().to_le_bytes()[0]).collect();
    let batch = Batch::Tokens { inputs: &text[..text.len() - 1], targets: &text[1..], context: CONTEXT };
    let mut model = Model::new(spec, sequences);

    let mut milliseconds: Vec<f64> = (0..200)
        .map(|_| {
            let start = Instant::now();
            let sums = model.forward_backward(&params, &[batch], &mut gradient, &mut |_, _| {});
            sums.expect("the batch fits");
            start.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    milliseconds.sort_by(f64::total_cmp);
    let flops = model.spec().profile().flops_per_sample * sequences as f64;
    println!(
        "{sequences} sequences: median {:.2} ms, fastest {:.2} ms, {:.1} GFLOP/s at the median",
        milliseconds[100],
        milliseconds[0],
        flops / milliseconds[100] / 1e6
    );
}
