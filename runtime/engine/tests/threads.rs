//! Computing takes the calling thread and no other: a worker's cores are bounded by the threads it makes itself.
//!
//! Alone in its process, so that all of the process's CPU time is this test's.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use std::time::Duration;

use hcrun_engine::batch::Batch;
use hcrun_engine::clip::{clip, fold_partials, norm_partials};
use hcrun_engine::model::Model;
use hcrun_engine::optimizer::{Optimizer, StepScalars};
use hcrun_engine::spec::{DataShape, ModelSpec};
use hcrun_kernels::digest::digest;
use hcrun_kernels::host_buffers::HostBuffers;
use hcrun_kernels::update::{Moments, Scalars, adamw};
use hcrun_protocol::Rank;
use hcrun_protocol::buffers::{Buffers, Operand};
use hcrun_protocol::dtype::{Codec, Packing};
use hcrun_protocol::job::{self, Matmul};
use hcrun_protocol::schedule::{Level, Phase};
use hcrun_protocol::units::chunk_elems;
use rustix::time::{ClockId, clock_gettime};

/// A step of a small model and the packing of its gradient.
fn step(matmul: Matmul) {
    const CONTEXT: usize = 64;
    let model = job::Model::Gpt { layers: 2, width: 256, heads: 4, context: 64 };
    let spec = ModelSpec::new(&model, DataShape::Text { vocab: 256 }).unwrap();
    let text: Vec<u8> = (0..=4 * 64).map(|i: u16| i.to_le_bytes()[0]).collect();
    let batch = Batch::Tokens { inputs: &text[..4 * CONTEXT], targets: &text[1..], context: CONTEXT };
    let (train, profile) = (common::train(matmul), spec.profile());

    let mut optimizer = Optimizer::new(&train, &profile, std::iter::once(0..profile.arena_elems).collect());
    let params = spec.init(1);
    let (mut next, mut gradient) = (params.clone(), params.clone());
    let mut model: Model = Model::new(spec, 4);
    model.set_matmul(matmul);
    let sums = model.forward_backward(&params, &[batch], &mut gradient, &mut |_, _| {}).unwrap();
    let mut partials = Vec::new();
    norm_partials(&gradient, chunk_elems(gradient.len()), &mut partials);
    let clip = clip(fold_partials(&partials), sums.weight, train.clip);
    let scalars = StepScalars {
        learning_rate: train.learning_rate,
        gradient_scale: clip.gradient_scale,
        updates_before: 0,
        skip: clip.skip,
    };
    optimizer.apply(&scalars, &params, &gradient, &mut next);
    assert_ne!(digest(0, &next), digest(0, &params));

    let whole = 0..gradient.len();
    let mut buffers = HostBuffers::new(gradient);
    let packing = Packing { codec: Codec::Int8, phase: Phase(0), source: Rank(0) };
    let mut payload = Vec::new();
    buffers.encode(Level(0), whole.clone(), packing, &mut payload).unwrap();
    let received = Operand::Received { codec: Codec::Int8, pieces: &[&payload] };
    buffers.reduce(Level(1), whole, &[Operand::Own(Level(0)), received, received], None).unwrap();
}

/// So long that the parameters go past the caches.
fn long_update() {
    let scalars = Scalars { learning_rate: 1e-3, gradient_scale: 1.0, weight_decay: 0.01 };
    let moments = Moments { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, step_size: 1e-3, correction2_sqrt: 1.0 };
    let params = vec![1.0; 5 << 20];
    let [mut first, mut second, mut next] = [params.clone(), params.clone(), params.clone()];
    adamw(scalars, moments, &params, &params, &mut first, &mut second, &mut next);
    assert_ne!(next, params);
}

fn cpu_time(clock: ClockId) -> Duration {
    clock_gettime(clock).try_into().unwrap()
}

#[test]
fn a_step_computes_on_the_thread_that_calls_it() {
    let threads = || std::fs::read_dir("/proc/self/task").unwrap().count();
    let threads_before = threads();
    let before = [ClockId::ProcessCPUTime, ClockId::ThreadCPUTime].map(cpu_time);
    for matmul in [Matmul::F32, Matmul::Bf16] {
        step(matmul);
    }
    long_update();
    let after = [ClockId::ProcessCPUTime, ClockId::ThreadCPUTime].map(cpu_time);
    let [process, thread] = [after[0] - before[0], after[1] - before[1]];
    // Short-lived threads count here; a clock of a process is read a little later than that of its thread.
    assert!(
        process <= thread + Duration::from_millis(1),
        "{process:?} of CPU, of which {thread:?} are the caller's"
    );
    assert_eq!(threads(), threads_before);
}
