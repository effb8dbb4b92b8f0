//! Values that checks compute with, and the lengths and shards they try.

use std::ops::Range;

use hcrun_protocol::Prng;

/// None, one, below and above a quad, a warp and a block, and several blocks with a rest.
pub(crate) const LENGTHS: [usize; 9] = [0, 1, 3, 4, 31, 257, 1023, 1024, 2563];

/// Shards that a range is computed in.
pub(crate) const SHARDS: [usize; 4] = [1, 2, 3, 7];

/// What rounding, comparing and dividing go wrong at.
const SPECIAL: [f32; 14] = [
    0.0,
    -0.0,
    f32::NAN,
    f32::INFINITY,
    f32::NEG_INFINITY,
    f32::MAX,
    f32::MIN,
    f32::MIN_POSITIVE,
    -f32::MIN_POSITIVE,
    1e-40,
    -1e-45,
    65_504.0,
    65_520.0,
    1.001_953_1,
];

/// Finite values of many magnitudes, all different with overwhelming probability.
#[expect(clippy::cast_possible_truncation, reason = "test data is rounded to f32")]
pub(crate) fn finite(seed: u64, elems: usize) -> Vec<f32> {
    let mut draws = Prng::new(seed);
    let mut value = || (draws.uniform() * 2.0 - 1.0) * f64::powi(2.0, draws.below(12) as i32 - 8);
    (0..elems).map(|_| value() as f32).collect()
}

/// Finite values with one in eight replaced by a special one.
pub(crate) fn any(seed: u64, elems: usize) -> Vec<f32> {
    let mut draws = Prng::new(seed ^ 0x5bec_1a15);
    let mut values = finite(seed, elems);
    for value in &mut values {
        if draws.below(8) == 0 {
            let index = draws.below(SPECIAL.len() as u64);
            *value = SPECIAL.into_iter().nth(usize::try_from(index).unwrap_or(0)).unwrap_or(f32::NAN);
        }
    }
    values
}

/// `shards` ranges that cover `0..elems`, of odd bounds.
pub(crate) fn shards(elems: usize, shards: usize) -> Vec<Range<usize>> {
    let bound = |index: usize| elems * index / shards;
    (0..shards).map(|index| bound(index)..bound(index + 1)).collect()
}

/// `shards` ranges that cover `0..elems`, of bounds at multiples of `align`.
pub(crate) fn aligned_shards(elems: usize, shards: usize, align: usize) -> Vec<Range<usize>> {
    let bound = |index: usize| (elems.div_ceil(align) * index / shards * align).min(elems);
    (0..shards).map(|index| bound(index)..bound(index + 1)).collect()
}
