//! Clipping of gradients and Gaussian noise, for differential privacy.
//!
//! Two guarantees, which must not be confused. Per-example clipping bounds what one example adds to a sum:
//! gradients are rows, one an example. Per-worker clipping bounds what all examples of a worker add together:
//! one row. In both, a row that is not finite adds nothing, so that it is bounded too. Noise of deviation
//! `bound × multiplier` is added once to the sum; what that gives is for an accountant to say.
//!
//! Draws are a function of (seed, step, element) alone, and everything uses + - × ÷ √ only, so that CPU and
//! GPU give the same bits for any number of shards.
//!
//! What this does not protect against:
//!
//! - **The seed is the secret.** Whoever knows it can subtract the noise. Take it from the operating system's
//!   entropy, a fresh one for each worker and run, and keep it out of settings, logs and checkpoints; never
//!   derive it from the seed of the run, which all ranks know. A repeated (seed, step) repeats the noise:
//!   the difference of two such sums has none.
//! - **Philox is no cipher.** It passes statistical tests, but has 64 bits of key and no proof against
//!   someone who predicts it from outputs. The guarantee holds against those who see rounded sums, not
//!   against cryptanalysis.
//! - **Floats have gaps.** Which f32 a noisy sum can be depends on the value below the noise, so its low bits
//!   tell more than the real-number proof says. Sources: Mironov, "On significance of the least significant
//!   bits for differential privacy", 2012; Jin et al., "Are we there yet? Timing and floating-point attacks on
//!   differential privacy systems", 2022. Packing the sum (int8, int4) before it is sent hides low bits, but
//!   is no proof; a discrete Gaussian would be one.
//! - **Sums are rounded.** Rows are added in f64 and rounded to f32 once, then noise is added in f32: a row moves
//!   the sum by up to a unit in its last place more than the bound.
//! - **Tails end.** A draw has 32 bits, so noise ends at 6.8 deviations, where a Gaussian has 1e-11 left.

use crate::simd::kernel;

/// Elements of which one partial is a sum. Shards begin at multiples of it.
pub const PART_ELEMS: usize = 4096;
/// Accumulators of a part: its elements `i`, `i + 256`, ... in order. Part of the result's definition.
const ACCUMULATORS: usize = 256;
/// Of a sum, at a time.
const BLOCK_ELEMS: usize = 1024;

/// What noise is drawn from.
#[derive(Clone, Copy)]
pub struct NoiseKey {
    /// Secret: see above.
    pub seed: u64,
    pub step: u64,
}

impl std::fmt::Debug for NoiseKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NoiseKey").field("step", &self.step).finish_non_exhaustive()
    }
}

kernel! {
    /// The sum of squares of one part: accumulators are added by halves.
    pub fn part_squares<'a>(part: &'a [f32]) -> f64 {
        let mut sums = [0.0_f64; ACCUMULATORS];
        for block in part.chunks(ACCUMULATORS) {
            for (sum, x) in sums.iter_mut().zip(block) {
                *sum += f64::from(*x) * f64::from(*x);
            }
        }
        let mut half = ACCUMULATORS / 2;
        while half > 0 {
            let (low, high) = sums.split_at_mut(half);
            for (low, high) in low.iter_mut().zip(high) {
                *low += *high;
            }
            half /= 2;
        }
        sums[0]
    }

    fn add_scaled<'a>(factor: f32, row: &'a [f32], total: &'a mut [f64]) {
        for (total, x) in total.iter_mut().zip(row) {
            *total += f64::from(factor * x);
        }
    }

    fn normal_block<'a>(key: NoiseKey, group: u64, out: &'a mut [f32; NORMALS]) {
        let words = philox::<GROUPS>(key, group);
        for pair in 0..2 {
            for lane in 0..GROUPS {
                let radius = minus_two_log(words[2 * pair][lane]).sqrt();
                let (cosine, sine) = turn(words[2 * pair + 1][lane]);
                out[4 * lane + 2 * pair] = radius * cosine;
                out[4 * lane + 2 * pair + 1] = radius * sine;
            }
        }
    }
}

/// What scales a row to a norm of at most `bound`; 0 for a row that is not finite, and for all where the bound
/// is negative or NaN. `partials` are those of all
/// its parts, in order.
pub fn clip_factor(partials: &[f64], bound: f32) -> f32 {
    let norm = partials.iter().fold(0.0, |sum, partial| sum + partial).sqrt();
    if !norm.is_finite() || bound.is_nan() || bound < 0.0 {
        return 0.0;
    }
    if norm <= f64::from(bound) {
        return 1.0;
    }
    // Four halves of a unit in the last place: more than all roundings up can add.
    let factor = narrow(f64::from(bound) / norm) * (1.0 - 1.0 / 4_194_304.0);
    // One of fewer bits could be rounded up by more.
    if factor < f32::MIN_POSITIVE { 0.0 } else { factor }
}

#[expect(clippy::cast_possible_truncation, reason = "rounds to nearest, as wanted")]
fn narrow(x: f64) -> f32 {
    x as f32
}

/// Adds rows in their order, each times its factor; a row of factor 0 is passed over. In f64, rounded once: in
/// f32 a row could move a long sum by several times itself.
pub fn clipped_sum<'a>(rows: impl Iterator<Item = &'a [f32]> + Clone, factors: &[f32], sum: &mut [f32]) {
    let mut totals = [0.0_f64; BLOCK_ELEMS];
    for (index, sum) in sum.chunks_mut(BLOCK_ELEMS).enumerate() {
        let totals = &mut totals[..sum.len()];
        totals.fill(0.0);
        let start = index * BLOCK_ELEMS;
        for (row, factor) in rows.clone().zip(factors).filter(|(_, factor)| **factor != 0.0) {
            add_scaled(*factor, &row[start..start + sum.len()], totals);
        }
        for (sum, total) in sum.iter_mut().zip(totals) {
            *sum = narrow(*total);
        }
    }
}

/// Adds normals of deviation `sigma`; `begin` is the index of the first value.
pub fn add_noise(key: NoiseKey, begin: u64, sigma: f32, values: &mut [f32]) {
    for_normals(key, begin, values, |value, normal| *value += sigma * normal);
}

/// Standard normals of elements from `begin` on.
pub fn normals(key: NoiseKey, begin: u64, out: &mut [f32]) {
    for_normals(key, begin, out, |value, normal| *value = normal);
}

fn for_normals(key: NoiseKey, begin: u64, values: &mut [f32], mut each: impl FnMut(&mut f32, f32)) {
    let mut block = [0.0; NORMALS];
    let (mut index, mut rest) = (begin, values);
    while !rest.is_empty() {
        let within = usize::try_from(index % NORMALS as u64).expect("less than a block");
        let (now, later) = rest.split_at_mut(rest.len().min(NORMALS - within));
        normal_block(key, (index - within as u64) / 4, &mut block);
        for (value, normal) in now.iter_mut().zip(&block[within..]) {
            each(value, *normal);
        }
        index += now.len() as u64;
        rest = later;
    }
}

/// Four words for each of so many counters from `counter` on: Philox4x32-10, in lanes that vectorise. Source:
/// Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3", 2011.
#[inline(always)]
#[expect(clippy::needless_range_loop, reason = "a lane is a place in four arrays")]
fn philox<const LANES: usize>(key: NoiseKey, counter: u64) -> [[u32; LANES]; 4] {
    let mut words = [[0; LANES], [0; LANES], [low(key.step); LANES], [high(key.step); LANES]];
    for lane in 0..LANES {
        let counter = counter + lane as u64;
        (words[0][lane], words[1][lane]) = (low(counter), high(counter));
    }
    let (mut k0, mut k1) = (low(key.seed), high(key.seed));
    for _ in 0..10 {
        for lane in 0..LANES {
            let a = 0xd251_1f53 * u64::from(words[0][lane]);
            let b = 0xcd9e_8d57 * u64::from(words[2][lane]);
            words[0][lane] = high(b) ^ words[1][lane] ^ k0;
            words[1][lane] = low(b);
            words[2][lane] = high(a) ^ words[3][lane] ^ k1;
            words[3][lane] = low(a);
        }
        k0 = k0.wrapping_add(0x9e37_79b9);
        k1 = k1.wrapping_add(0xbb67_ae85);
    }
    words
}

#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "the lower half is wanted")]
fn low(word: u64) -> u32 {
    word as u32
}

#[inline(always)]
fn high(word: u64) -> u32 {
    low(word >> 32)
}

/// `-2 ln((word + 1/2) / 2^32)`. Source of the polynomial: Cephes, `logf`.
#[inline(always)]
fn minus_two_log(word: u32) -> f32 {
    let bits = (word as f32 + 0.5).to_bits();
    let exponent = (bits >> 23).cast_signed() - 127 - 32;
    let m = f32::from_bits((bits & 0x007f_ffff) | 0x3f80_0000);
    let above = m > std::f32::consts::SQRT_2;
    let m = if above { m * 0.5 } else { m };
    let e = (exponent + i32::from(above)) as f32;
    let x = m - 1.0;
    let square = x * x;
    let mut poly = 7.037_683_6e-2;
    poly = poly * x - 0.115_146_1;
    poly = poly * x + 1.167_699_87e-1;
    poly = poly * x - 1.242_014_1e-1;
    poly = poly * x + 1.424_932_3e-1;
    poly = poly * x - 1.666_805_8e-1;
    poly = poly * x + 2.000_071_4e-1;
    poly = poly * x - 2.499_999_4e-1;
    poly = poly * x + 3.333_333e-1;
    let y = poly * x * square;
    // ln 2 in two parts, so that the product with the larger one is exact.
    let y = y + LN_2_LOW * e;
    let y = y - 0.5 * square;
    let log = (x + y) + LN_2_HIGH * e;
    -2.0 * log
}

/// Cosine and sine of `2π word / 2^32`. Source of the polynomials: Cephes, `sinf` and `cosf`.
#[inline(always)]
fn turn(word: u32) -> (f32, f32) {
    let quarter = word.wrapping_add(0x2000_0000) >> 30;
    // Within an eighth of a turn, exactly; π / 2^31 makes it an angle.
    let x = word.wrapping_sub(quarter << 30).cast_signed() as f32 * 1.462_918_1e-9;
    let square = x * x;
    let s = ((-1.951_529_6e-4 * square + 8.332_161e-3) * square - 1.666_665_5e-1) * square * x + x;
    let c = ((2.443_315_7e-5 * square - 1.388_731_6e-3) * square + 4.166_664_6e-2) * square * square
        - 0.5 * square
        + 1.0;
    let (a, b) = if quarter & 1 == 0 { (c, s) } else { (s, c) };
    let cosine = if quarter == 1 || quarter == 2 { -a } else { a };
    (cosine, if quarter >= 2 { -b } else { b })
}

const LN_2_HIGH: f32 = 0.693_359_4;
const LN_2_LOW: f32 = -2.121_944_4e-4;
const GROUPS: usize = 16;
const NORMALS: usize = 4 * GROUPS;

#[cfg(test)]
mod tests;
