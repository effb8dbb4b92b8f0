//! The global norm, and what follows from it for a step.

use hcrun_kernels::clip::clip;
use hcrun_kernels::device::{Address, Device};
use hcrun_kernels::launch;
use hcrun_kernels::reduce::{fold_partials, norm_partials};
use hcrun_kernels::step_block::StepBlock;

use crate::placed::{Placed, same};
use crate::update::STEP;
use crate::values::{LENGTHS, SHARDS, any, finite, shards};
use crate::{Case, Failure};

pub(crate) const CASES: &[Case] = &[
    Case { name: "norm_partials_have_the_bits_of_the_cpu_for_every_grid", run: partials },
    Case { name: "clip_factor_and_skip_flag_have_the_bits_of_the_cpu", run: factor },
    Case { name: "a_clipped_gradient_has_the_norm_of_the_limit", run: clipped },
    Case { name: "a_gradient_that_is_not_finite_leaves_parameters_and_state", run: not_finite },
];

pub(crate) const LAST_BLOCK_CASES: &[Case] =
    &[Case { name: "norm_partials_of_more_than_32_bits_reach_their_last_elements", run: last_block }];

/// Elements of a chunk: fewer than arenas have, so that many fit a test.
const CHUNK: usize = 96;

/// By the device: `parts` launches over whole chunks.
fn partials_on(
    device: &dyn Device,
    values: &[f32],
    chunk: usize,
    (parts, shift): (usize, usize),
) -> Result<Vec<f64>, Failure> {
    let chunks = values.len().div_ceil(chunk);
    let placed = Placed::new(device, values, shift)?;
    let partials = Placed::new(device, &vec![7.0_f64; chunks], 0)?;
    for part in shards(chunks, parts) {
        let first = part.start * chunk;
        launch::NormPartials {
            n: part.len() as u64,
            elems: (values.len().min(part.end * chunk) - first.min(values.len())) as u64,
            chunk_elems: chunk as u64,
            values: placed.at(first),
            partials: partials.at(part.start),
        }
        .launch(device)?;
    }
    device.synchronize()?;
    placed.expect_unchanged(device, "the values")?;
    partials.read(device, "partials")
}

/// Bug of others: a grid that depends on the GPU gives sums that do.
fn partials(device: &dyn Device) -> Result<(), Failure> {
    let lengths = LENGTHS.map(|elems| (elems, CHUNK, (1, 0)));
    let parts = SHARDS.map(|parts| (40 * CHUNK + 13, CHUNK, (parts, 1)));
    let long = [(3000, 1024, (2, 0)), (8, 1, (1, 3)), (1024, 1024, (1, 0))];
    for values in [any, finite] {
        for (elems, chunk, how) in lengths.into_iter().chain(parts).chain(long) {
            let values = values(21, elems);
            let mut cpu = Vec::new();
            norm_partials(&values, chunk, &mut cpu);
            let what = format!("{elems} elements in chunks of {chunk}; parts, shift {how:?}");
            same(&what, &partials_on(device, &values, chunk, how)?, &cpu)?;
        }
    }
    Ok(())
}

/// The last five chunks of so many that their threads need more than 32 bits to count, for devices that run the
/// last block alone.
fn last_block(device: &dyn Device) -> Result<(), Failure> {
    const FAR: u64 = 1 << 29;
    let values = finite(22, 5 * 9);
    let mut cpu = Vec::new();
    norm_partials(&values, 9, &mut cpu);
    let placed = Placed::new(device, &values, 0)?;
    let partials = Placed::new(device, &[7.0_f64; 5], 0)?;
    launch::NormPartials {
        n: FAR + 5,
        elems: (FAR + 5) * 9,
        chunk_elems: 9,
        values: placed.address().less(FAR * 9),
        partials: partials.address().less(FAR),
    }
    .launch(device)?;
    device.synchronize()?;
    partials.expect(device, "partials", &cpu)
}

/// The norm, and the step's block as the device leaves it.
fn clip_on(
    device: &dyn Device,
    partials: &[f64],
    weight: f64,
    limit: f64,
) -> Result<(f64, Vec<u32>), Failure> {
    let placed = Placed::new(device, partials, 0)?;
    let global = Placed::new(device, &[weight, limit], 0)?;
    let norm = Placed::new(device, &[7.0_f64], 0)?;
    let step = Placed::new(device, &STEP.words(), 0)?;
    launch::Clip {
        n: partials.len() as u64,
        partials: placed.address(),
        global: global.address(),
        norm: norm.address(),
        step: step.address(),
    }
    .launch(device)?;
    device.synchronize()?;
    Ok((norm.read(device, "norm")?[0], step.read(device, "the step's block")?))
}

fn factor(device: &dyn Device) -> Result<(), Failure> {
    let partials = |count: usize| finite(31, count).iter().map(|x| f64::from(*x).powi(2)).collect();
    let mut sums: Vec<Vec<f64>> = [0, 1, 3, 255, 256, 257, 1000].map(partials).to_vec();
    for bad in [f64::NAN, f64::INFINITY] {
        let mut partials: Vec<f64> = partials(300);
        partials[299] = bad;
        sums.push(partials);
    }
    for partials in &sums {
        for (weight, limit) in [(8.0, 1.0), (8.0, 0.0), (3.0, 1e-3), (1.0, 1e9), (0.0, 1.0), (1e-300, 0.0)] {
            let cpu = clip(fold_partials(partials), weight, limit);
            let (norm, step) = clip_on(device, partials, weight, limit)?;
            let what = format!("{} partials, weight {weight}, limit {limit}", partials.len());
            same(&format!("norm of {what}"), &[norm], &[cpu.norm])?;
            let scale = f32::from_bits(step[1]);
            same(&format!("gradient scale of {what}"), &[scale], &[cpu.gradient_scale])?;
            let written = StepBlock { gradient_scale: scale, skip: cpu.skip, ..STEP };
            same(&format!("the step's block of {what}"), &step, &written.words())?;
        }
    }
    Ok(())
}

/// Bug of others: the factor divides by the squared norm.
fn clipped(device: &dyn Device) -> Result<(), Failure> {
    let sums = finite(41, 5000);
    let (weight, limit) = (12.0, 0.25);
    let (_, step) = clip_on(device, &partials_on(device, &sums, CHUNK, (3, 0))?, weight, limit)?;
    let scale = f64::from(f32::from_bits(step[1]));
    let norm = sums.iter().map(|x| (f64::from(*x) * scale).powi(2)).sum::<f64>().sqrt();
    if (norm - limit).abs() > 1e-4 * limit {
        return Err(Failure::Other(format!("the clipped gradient's norm is {norm}, the limit {limit}")));
    }
    Ok(())
}

/// Bug of others: one gradient of NaN sets the state to zero. From partials to update without the host.
fn not_finite(device: &dyn Device) -> Result<(), Failure> {
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut gradient = finite(51, 1500);
        gradient[1499] = bad;
        let partials = Placed::new(device, &partials_on(device, &gradient, CHUNK, (1, 0))?, 0)?;
        let [params, first, second] = [52, 53, 54].map(|seed| finite(seed, 1500));
        let gradient = Placed::new(device, &gradient, 0)?;
        let placed = Placed::new(device, &params, 0)?;
        let out = Placed::new(device, &vec![7.0_f32; 1500], 0)?;
        let (first, second) = (Placed::new(device, &first, 0)?, Placed::new(device, &second, 0)?);
        let global = Placed::new(device, &[8.0_f64, 1.0], 0)?;
        let norm = Placed::new(device, &[7.0_f64], 0)?;
        let step = Placed::new(device, &STEP.words(), 0)?;
        launch::Clip {
            n: 1500_u64.div_ceil(CHUNK as u64),
            partials: partials.address(),
            global: global.address(),
            norm: norm.address(),
            step: step.address(),
        }
        .launch(device)?;
        launch::Adamw {
            n: 1500,
            begin: 0,
            step: step.address(),
            segments: 0,
            ends: Address::NULL,
            decays: Address::NULL,
            params: placed.address(),
            gradient: gradient.address(),
            first: first.address(),
            second: second.address(),
            out: out.address(),
            copy: Address::NULL,
        }
        .launch(device)?;
        device.synchronize()?;
        out.expect(device, "new parameters", &params)?;
        first.expect_unchanged(device, "first moments")?;
        second.expect_unchanged(device, "second moments")?;
    }
    Ok(())
}
