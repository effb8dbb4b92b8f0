//! One training step of one worker on one thread: forward, backward, norm, clip, update.
//!
//! The shapes are those of `examples/gpt` and `examples/factory`; the inputs are random, which changes no
//! operation's cost.

use std::time::Instant;

use anyhow::Context;
use hcrun_engine::batch::{Batch, Targets};
use hcrun_engine::clip::{clip, fold_partials, norm_partials};
use hcrun_engine::model::Model;
use hcrun_engine::optimizer::{Optimizer, StepScalars};
use hcrun_engine::spec::{DataShape, ModelSpec};
use hcrun_protocol::Prng;
use hcrun_protocol::job::{self, Train};
use hcrun_protocol::units::chunk_elems;

use serde::Serialize;

use crate::arguments::Words;
use crate::machine::Machine;

const GPT_SEQUENCES: usize = 8;
const CONTEXT: usize = 64;
const MLP_ROWS: usize = 64;
const MLP_FEATURES: usize = 11;

pub(crate) const USAGE: &str = "usage: cargo xtask bench engine [--json] [--rounds N]";

/// What one invocation prints as JSON.
#[derive(Serialize)]
struct Results {
    schema: u32,
    bench: &'static str,
    rounds: usize,
    machine: Machine,
    measurements: Vec<Measurement>,
}

/// One workload over all rounds.
#[derive(Serialize)]
struct Measurement {
    name: &'static str,
    /// What one step computes.
    workload: String,
    /// What `per_s` counts: samples or tokens.
    unit: &'static str,
    units_per_step: usize,
    min_ms: f64,
    median_ms: f64,
    /// At the median.
    per_s: f64,
    gflop_per_s: f64,
}

pub(crate) fn run(mut words: Words) -> anyhow::Result<()> {
    let (mut json, mut rounds) = (false, 9);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--json" => json = true,
            "--rounds" => rounds = words.count("--rounds")?,
            other => return Err(words.unknown(other)),
        }
    }
    let measurements = vec![gpt(rounds)?, mlp(rounds)?];
    let results = Results { schema: 1, bench: "engine", rounds, machine: Machine::this(), measurements };
    if json {
        println!("{}", serde_json::to_string_pretty(&results)?);
    } else {
        print_table(&results);
    }
    Ok(())
}

fn gpt(rounds: usize) -> anyhow::Result<Measurement> {
    let model = job::Model::Gpt { layers: 2, width: 96, heads: 4, context: 64 };
    let spec = ModelSpec::new(&model, DataShape::Text { vocab: 256 })?;
    let mut draws = Prng::new(1);
    let text: Vec<u8> = (0..=GPT_SEQUENCES * CONTEXT).map(|_| draws.next_u64().to_le_bytes()[0]).collect();
    let batch = Batch::Tokens { inputs: &text[..text.len() - 1], targets: &text[1..], context: CONTEXT };
    let shape = Shape { name: "gpt", unit: "tokens", samples: GPT_SEQUENCES, units_per_sample: CONTEXT };
    measure(&shape, spec, batch, rounds, 20)
}

fn mlp(rounds: usize) -> anyhow::Result<Measurement> {
    let model = job::Model::Mlp { hidden: vec![64, 32] };
    let spec = ModelSpec::new(&model, DataShape::Table { features: MLP_FEATURES, outputs: 1 })?;
    let mut draws = Prng::new(1);
    let mut normals = |count: usize| (0..count).map(|_| narrow(draws.normal())).collect::<Vec<f32>>();
    let (features, values) = (normals(MLP_ROWS * MLP_FEATURES), normals(MLP_ROWS));
    let batch = Batch::Rows { features: &features, targets: Targets::Value(&values) };
    let shape = Shape { name: "mlp", unit: "samples", samples: MLP_ROWS, units_per_sample: 1 };
    measure(&shape, spec, batch, rounds, 2_000)
}

struct Shape {
    name: &'static str,
    unit: &'static str,
    samples: usize,
    units_per_sample: usize,
}

/// A round is the mean over `steps` steps; the first round warms up and does not count.
fn measure(
    shape: &Shape,
    spec: ModelSpec,
    batch: Batch<'_>,
    rounds: usize,
    steps: u64,
) -> anyhow::Result<Measurement> {
    let profile = spec.profile();
    let chunk = chunk_elems(profile.arena_elems);
    let train = train();
    let mut optimizer = Optimizer::new(&train, &profile, std::iter::once(0..profile.arena_elems).collect());
    let mut params = spec.init(1);
    let (mut next, mut gradient) = (params.clone(), vec![0.0; params.len()]);
    let mut model: Model = Model::new(spec, shape.samples);
    let mut partials = Vec::new();
    let mut times_ms = Vec::with_capacity(rounds);
    for round in 0..=rounds as u64 {
        let start = Instant::now();
        for step in 0..steps {
            let sums = model.forward_backward(&params, &[batch], &mut gradient, &mut |_, _| {})?;
            partials.clear();
            norm_partials(&gradient, chunk, &mut partials);
            let clip = clip(fold_partials(&partials), sums.weight, train.clip);
            let scalars = StepScalars {
                learning_rate: train.learning_rate,
                gradient_scale: clip.gradient_scale,
                updates_before: round * steps + step,
                skip: clip.skip,
            };
            optimizer.apply(&scalars, &params, &gradient, &mut next);
            std::mem::swap(&mut params, &mut next);
        }
        if round > 0 {
            times_ms.push(start.elapsed().as_secs_f64() * 1e3 / steps as f64);
        }
    }
    times_ms.sort_by(f64::total_cmp);
    let (min_ms, median_ms) = (*times_ms.first().context("no rounds")?, times_ms[times_ms.len() / 2]);
    let units_per_step = shape.samples * shape.units_per_sample;
    Ok(Measurement {
        name: shape.name,
        workload: format!("{} parameters, {units_per_step} {}", profile.parameters, shape.unit),
        unit: shape.unit,
        units_per_step,
        min_ms,
        median_ms,
        per_s: units_per_step as f64 / median_ms * 1e3,
        gflop_per_s: profile.flops_per_sample * shape.samples as f64 / median_ms / 1e6,
    })
}

fn train() -> Train {
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
        batch: 32,
        accumulation: 1,
        steps: 1,
        evaluate_every: 0,
        checkpoint_every: 0,
    }
}

#[expect(clippy::cast_possible_truncation, reason = "any f32 will do")]
fn narrow(value: f64) -> f32 {
    value as f32
}

fn print_table(results: &Results) {
    let Machine { date, cpu, cores, hcrun, rustc } = &results.machine;
    println!("{date} · {cpu}, {cores} cores · hcrun {hcrun} · {rustc}");
    println!("one thread, {} rounds\n", results.rounds);
    println!("{:12} {:>9} {:>10} {:>21} {:>9}  step", "", "min ms", "median ms", "at the median", "GFLOP/s");
    for Measurement { name, workload, unit, min_ms, median_ms, per_s, gflop_per_s, .. } in
        &results.measurements
    {
        let rate = format!("{per_s:.0} {unit}/s");
        println!("{name:12} {min_ms:9.3} {median_ms:10.3} {rate:>21} {gflop_per_s:9.1}  {workload}");
    }
}
