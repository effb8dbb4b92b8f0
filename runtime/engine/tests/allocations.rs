//! After warm-up a step allocates nothing.

#![expect(unsafe_code, reason = "an allocator is unsafe to implement")]
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use hcrun_engine::batch::{Batch, Targets};
use hcrun_engine::clip::{clip, fold_partials, norm_partials};
use hcrun_engine::model::Model;
use hcrun_engine::optimizer::{Optimizer, StepScalars};
use hcrun_engine::spec::{DataShape, ModelSpec};
use hcrun_protocol::job::{self, Matmul};
use hcrun_protocol::units::chunk_elems;

thread_local! {
    /// Of this thread, so that tests do not count each other's.
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: all calls go to the system's allocator unchanged; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // Threads that end allocate after their counter is gone.
        let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Allocations of each of six whole steps.
fn allocations_by_step(spec: ModelSpec, samples: usize, batch: Batch<'_>, matmul: Matmul) -> Vec<u64> {
    let (train, profile) = (common::train(matmul), spec.profile());
    let mut optimizer = Optimizer::new(&train, &profile, std::iter::once(0..profile.arena_elems).collect());
    let mut params = spec.init(1);
    let (mut next, mut gradient) = (params.clone(), params.clone());
    let mut model: Model = Model::new(spec, samples);
    model.set_matmul(matmul);
    let mut partials = Vec::new();
    let mut counts = Vec::with_capacity(6);
    for step in 0..6 {
        let before = ALLOCATIONS.get();
        let sums = model.forward_backward(&params, &[batch], &mut gradient, &mut |_, _| {}).unwrap();
        partials.clear();
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
        counts.push(ALLOCATIONS.get() - before);
    }
    counts
}

const PRECISIONS: [Matmul; 2] = [Matmul::F32, Matmul::Bf16];

fn assert_that_only_first_steps_allocate(counts: &[u64], matmul: Matmul) {
    assert!(counts[0] > 0, "the counter counts: a first step makes room");
    assert!(counts[3..].iter().all(|count| *count == 0), "allocations by step {counts:?}, {matmul:?}");
}

/// Two layers of attention in tiles, and all other operations of a GPT.
#[test]
fn a_step_of_a_gpt_allocates_nothing() {
    let model = job::Model::Gpt { layers: 2, width: 64, heads: 2, context: 80 };
    let text: Vec<u8> = (0..=4 * 80).map(|i: u16| i.to_le_bytes()[0]).collect();
    let batch = Batch::Tokens { inputs: &text[..4 * 80], targets: &text[1..], context: 80 };
    for matmul in PRECISIONS {
        let spec = ModelSpec::new(&model, DataShape::Text { vocab: 256 }).unwrap();
        assert_that_only_first_steps_allocate(&allocations_by_step(spec, 4, batch, matmul), matmul);
    }
}

#[test]
fn a_step_of_an_mlp_allocates_nothing() {
    let model = job::Model::Mlp { hidden: vec![64, 32] };
    let features: Vec<f32> = (0..64 * 30_u16).map(f32::from).map(|x| x / 1e3).collect();
    let classes: Vec<u32> = (0..64).map(|row| row % 2).collect();
    let batch = Batch::Rows { features: &features, targets: Targets::Class(&classes) };
    for matmul in PRECISIONS {
        let spec = ModelSpec::new(&model, DataShape::Table { features: 30, outputs: 2 }).unwrap();
        assert_that_only_first_steps_allocate(&allocations_by_step(spec, 64, batch, matmul), matmul);
    }
}
