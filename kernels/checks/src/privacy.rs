//! Clipping and Gaussian noise.

use hcrun_kernels::device::Device;
use hcrun_kernels::launch;
use hcrun_kernels::privacy::{self, NoiseKey, PART_ELEMS};

use crate::placed::{Placed, same};
use crate::values::{SHARDS, aligned_shards, any, finite};
use crate::{Case, Failure};

pub(crate) const CASES: &[Case] = &[
    Case { name: "clipped_sums_with_noise_have_the_bits_of_the_cpu", run: bits_of_the_cpu },
    Case { name: "any_number_of_shards_clips_and_draws_the_same", run: sharded },
    Case { name: "misaligned_rows_give_the_same_sum", run: misaligned },
    Case { name: "a_worker_clips_its_sum_in_place", run: in_place },
    Case { name: "noise_of_every_kind_of_draw_has_the_bits_of_the_cpu", run: noise },
    Case { name: "factors_are_those_of_the_cpu_for_any_norm", run: factors },
];

pub(crate) const LAST_BLOCK_CASES: &[Case] =
    &[Case { name: "noise_of_more_than_32_bits_reaches_its_last_elements", run: last_block }];

const KEY: NoiseKey = NoiseKey { seed: 0xfeed_5eed_0001, step: (1 << 35) + 3 };

struct Job {
    /// A row after another.
    rows: Vec<f32>,
    columns: usize,
    bound: f32,
    sigma: f32,
}

#[derive(Debug, Clone, Copy)]
struct How {
    parts: usize,
    shift: usize,
    in_place: bool,
}

const WHOLE: How = How { parts: 1, shift: 0, in_place: false };

impl Job {
    fn new(rows: usize, columns: usize, values: fn(u64, usize) -> Vec<f32>) -> Job {
        Job { rows: values(5, rows * columns), columns, bound: 2.0, sigma: 0.75 }
    }

    fn row_count(&self) -> usize {
        self.rows.len().checked_div(self.columns).unwrap_or(0)
    }

    fn on_cpu(&self) -> (Vec<f64>, Vec<f32>, Vec<f32>) {
        let mut sum = vec![7.0; self.columns];
        if self.columns == 0 {
            return (Vec::new(), Vec::new(), sum);
        }
        let rows = self.rows.chunks(self.columns);
        let partials: Vec<Vec<f64>> =
            rows.clone().map(|row| row.chunks(PART_ELEMS).map(privacy::part_squares).collect()).collect();
        let factors: Vec<f32> =
            partials.iter().map(|partials| privacy::clip_factor(partials, self.bound)).collect();
        privacy::clipped_sum(rows, &factors, &mut sum);
        privacy::add_noise(KEY, 0, self.sigma, &mut sum);
        (partials.concat(), factors, sum)
    }

    fn compare(&self, device: &dyn Device, how: How) -> Result<(), Failure> {
        let How { parts, shift, in_place } = how;
        let (rows, columns) = (self.row_count(), self.columns);
        let what = format!("{rows} rows of {columns}, {how:?}");
        let values = Placed::new(device, &self.rows, shift)?;
        let apart = Placed::new(device, &vec![7.0_f32; columns], shift)?;
        let out = if in_place { &values } else { &apart };
        let row_parts = columns.div_ceil(PART_ELEMS);
        let partials = Placed::new(device, &vec![7.0_f64; rows * row_parts], 0)?;
        let factors = Placed::new(device, &vec![7.0_f32; rows], 0)?;
        let shards = aligned_shards(columns, parts, PART_ELEMS);
        for shard in &shards {
            launch::ClipPartials {
                n: (rows * shard.len().div_ceil(PART_ELEMS)) as u64,
                begin: shard.start as u64,
                columns: shard.len() as u64,
                pitch: columns as u64,
                partials_pitch: row_parts as u64,
                rows: values.address(),
                partials: partials.address(),
            }
            .launch(device)?;
        }
        launch::ClipFactors {
            n: rows as u64,
            parts: row_parts as u64,
            bound: self.bound,
            partials: partials.address(),
            factors: factors.address(),
        }
        .launch(device)?;
        for shard in &shards {
            launch::ClippedSum {
                n: shard.len() as u64,
                begin: shard.start as u64,
                rows: rows as u64,
                pitch: columns as u64,
                values: values.address(),
                factors: factors.address(),
                seed: KEY.seed,
                step: KEY.step,
                sigma: self.sigma,
                out: out.address(),
            }
            .launch(device)?;
        }
        device.synchronize()?;
        let (cpu_partials, cpu_factors, cpu_sum) = self.on_cpu();
        partials.expect(device, &format!("{what}: partials"), &cpu_partials)?;
        factors.expect(device, &format!("{what}: factors"), &cpu_factors)?;
        same(&format!("{what}: sum"), &bits(&out.read(device, "sum")?), &bits(&cpu_sum))
    }
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

fn bits_of_the_cpu(device: &dyn Device) -> Result<(), Failure> {
    for columns in [0, 1, 2, 5, 257, 1025, PART_ELEMS, PART_ELEMS + 1] {
        for rows in [1, 2, 5] {
            Job::new(rows, columns, finite).compare(device, WHOLE)?;
        }
    }
    // Most rows have a value that is not finite, some none.
    Job::new(40, 9, any).compare(device, WHOLE)?;
    let small = Job { sigma: 0.0, bound: 1e9, ..Job::new(3, 300, finite) };
    small.compare(device, WHOLE)
}

fn sharded(device: &dyn Device) -> Result<(), Failure> {
    for parts in SHARDS {
        Job::new(2, 7 * PART_ELEMS - 3, finite).compare(device, How { parts, ..WHOLE })?;
    }
    Ok(())
}

fn misaligned(device: &dyn Device) -> Result<(), Failure> {
    for shift in 1..4 {
        Job::new(3, 1030 + shift, finite).compare(device, How { shift, ..WHOLE })?;
    }
    Ok(())
}

fn in_place(device: &dyn Device) -> Result<(), Failure> {
    Job::new(1, 2 * PART_ELEMS + 77, finite).compare(device, How { parts: 2, in_place: true, ..WHOLE })
}

/// Noise alone, for elements from `begin` on.
fn compare_noise(device: &dyn Device, elems: usize, begin: u64, from_zero: bool) -> Result<(), Failure> {
    let mut cpu = vec![0.0; elems];
    privacy::add_noise(KEY, begin, 1.0, &mut cpu);
    let out = Placed::new(device, &vec![7.0_f32; elems], 0)?;
    let factors = Placed::new(device, &[0.0_f32], 0)?;
    launch::ClippedSum {
        n: elems as u64 + if from_zero { begin } else { 0 },
        begin: if from_zero { 0 } else { begin },
        rows: 1,
        pitch: 0,
        values: out.address().less(begin),
        factors: factors.address(),
        seed: KEY.seed,
        step: KEY.step,
        sigma: 1.0,
        out: out.address().less(begin),
    }
    .launch(device)?;
    same(&format!("noise from {begin} on"), &bits(&out.read(device, "noise")?), &bits(&cpu))
}

/// Enough draws for every quarter of a turn, and for logarithms near both ends.
fn noise(device: &dyn Device) -> Result<(), Failure> {
    compare_noise(device, 200_003, 0, false)?;
    compare_noise(device, 1_031, (1 << 32) - 512, false)?;
    compare_noise(device, 1_031, (1 << 45) + 4096, false)
}

fn last_block(device: &dyn Device) -> Result<(), Failure> {
    compare_noise(device, 7, 1 << 33, true)
}

fn factors(device: &dyn Device) -> Result<(), Failure> {
    let norms = [0.0, 1.0, 1.999_999, 2.0, 2.000_001, 3.0, 1e-300, 1e19, 1e38, 1e80, 1e-20];
    let mut partials: Vec<f64> = norms.iter().flat_map(|norm| [norm * norm, 0.0]).collect();
    partials.extend([f64::NAN, 1.0, 1.0, f64::INFINITY, 0.0, f64::NAN]);
    for bound in [2.0, 1e-30, 1e30, 1e-40, 0.0, -1.0, f32::NAN, f32::INFINITY] {
        let rows = partials.len() / 2;
        let placed = Placed::new(device, &partials, 0)?;
        let out = Placed::new(device, &vec![7.0_f32; rows], 0)?;
        launch::ClipFactors {
            n: rows as u64,
            parts: 2,
            bound,
            partials: placed.address(),
            factors: out.address(),
        }
        .launch(device)?;
        let cpu: Vec<f32> = partials.chunks(2).map(|pair| privacy::clip_factor(pair, bound)).collect();
        out.expect(device, "factors", &cpu)?;
    }
    Ok(())
}
