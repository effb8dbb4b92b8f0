//! Whole numbers in blocks that share a scale.
//!
//! A block is so many weights one after the other, row after row, over the ends of rows: narrow matrices pay for no
//! more scales than wide ones. Its scale is the bf16 with the least squared error among [`candidates`]. The grid
//! begins where nothing is cut off and ends where the largest weights are: with 4 bits, finer steps for many weights
//! are worth more than the largest one's exact value.

use hcrun_kernels::wire::nearest_bf16;

use super::{BLOCK_ELEMS, Bits, Values};

pub(super) fn quantise(values: &[f32], bits: Bits) -> Values {
    let mut codes = vec![0; values.len()];
    let blocks = values.chunks(BLOCK_ELEMS).zip(codes.chunks_mut(BLOCK_ELEMS));
    let scales = blocks.map(|(block, codes)| quantise_block(block, bits, codes)).collect();
    Values::Coded { bits, codes, scales }
}

/// Code times scale, as every reader computes it: one product of f32.
pub(crate) fn restore(codes: &[i8], scales: &[f32], block: usize, out: &mut [f32]) {
    let blocks = codes.chunks(block).zip(out.chunks_mut(block)).zip(scales);
    for ((codes, out), scale) in blocks {
        for (value, code) in out.iter_mut().zip(codes) {
            *value = f32::from(*code) * scale;
        }
    }
}

/// Returns the scale; 0 for a block of zeros.
fn quantise_block(block: &[f32], bits: Bits, codes: &mut [i8]) -> f32 {
    let largest = block.iter().copied().max_by(|a, b| a.abs().total_cmp(&b.abs())).unwrap_or(0.0);
    let mut best = (squared_error(block, 0.0, bits), 0.0);
    for scale in candidates(largest, bits) {
        let error = squared_error(block, scale, bits);
        if error < best.0 {
            best = (error, scale);
        }
    }
    let (_, scale) = best;
    codes.iter_mut().zip(block).for_each(|(code, value)| *code = code_of(*value, scale, bits));
    scale
}

/// Scales under which the largest weight has the lowest code (a negative scale if that weight is positive) or the
/// highest one, times 1 down to [`LOWEST_RATIO`]. One that becomes infinite has an infinite error and is not taken.
fn candidates(largest: f32, bits: Bits) -> impl Iterator<Item = f32> {
    let (lowest, highest) = bits.range();
    let ends = [largest / f32::from(highest), largest / f32::from(lowest)];
    let ratios = (0..RATIOS).map(|step| 1.0 - (1.0 - LOWEST_RATIO) * f32::from(step) / f32::from(RATIOS - 1));
    ratios.flat_map(move |ratio| ends.map(|end| nearest_bf16(end * ratio))).filter(|scale| *scale != 0.0)
}

fn squared_error(block: &[f32], scale: f32, bits: Bits) -> f64 {
    let error = |value: &f32| {
        let restored = f32::from(code_of(*value, scale, bits)) * scale;
        (f64::from(*value) - f64::from(restored)).powi(2)
    };
    block.iter().map(error).sum()
}

#[expect(clippy::cast_possible_truncation, reason = "a whole number within the range of i8")]
fn code_of(value: f32, scale: f32, bits: Bits) -> i8 {
    if scale == 0.0 {
        return 0;
    }
    let (lowest, highest) = bits.range();
    (value / scale).round_ties_even().clamp(f32::from(lowest), f32::from(highest)) as i8
}

const LOWEST_RATIO: f32 = 0.5;
const RATIOS: u16 = 51;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn round_trip(values: &[f32], bits: Bits) -> (Vec<i8>, Vec<f32>, Vec<f32>) {
        let Values::Coded { codes, scales, .. } = quantise(values, bits) else { panic!("coded") };
        let mut restored = vec![f32::NAN; values.len()];
        restore(&codes, &scales, BLOCK_ELEMS, &mut restored);
        (codes, scales, restored)
    }

    /// Multiples of a bf16 in the order of their codes, both ends in one block.
    #[test]
    fn every_code_is_used_and_restored_exactly() {
        for (bits, codes) in [(Bits::Int4, -8i8..=7), (Bits::Int8, -128..=127)] {
            let codes: Vec<i8> = codes.collect();
            for scale in [0.25f32, -0.25] {
                for block in codes.chunks(BLOCK_ELEMS - 1) {
                    let (lowest, _) = bits.range();
                    let block: Vec<i8> = [lowest].into_iter().chain(block.iter().copied()).collect();
                    let values: Vec<f32> = block.iter().map(|code| f32::from(*code) * scale).collect();
                    let (found, scales, restored) = round_trip(&values, bits);
                    assert_eq!((found, scales, restored), (block, vec![scale], values));
                }
            }
        }
    }

    #[test]
    fn zeros_and_the_ends_of_the_range_are_blocks_like_others() {
        for bits in [Bits::Int8, Bits::Int4] {
            assert_eq!(round_trip(&[0.0, -0.0, 0.0], bits), (vec![0; 3], vec![0.0], vec![0.0; 3]));
            for extreme in [f32::MAX, f32::MIN, f32::MIN_POSITIVE, 1e-45] {
                let (_, scales, restored) = round_trip(&[extreme, 0.0], bits);
                assert!(scales[0].is_finite() && restored.iter().all(|value| value.is_finite()), "{extreme}");
                assert!(f64::from((restored[0] - extreme).abs()) <= f64::from(extreme.abs()), "{extreme}");
                assert_eq!(restored[1], 0.0);
            }
        }
    }

    /// What the grid is for: an outlier costs less when it is cut off than when all others are rounded away.
    #[test]
    fn clipping_has_less_error_than_the_full_range() {
        let mut values: Vec<f32> = (0..31).map(|index| ((index * 7 % 31) as f32 - 15.0) / 15.0).collect();
        values.push(1.6);
        let (_, scales, restored) = round_trip(&values, Bits::Int4);
        let error =
            |restored: &[f32]| -> f32 { values.iter().zip(restored).map(|(a, b)| (a - b).powi(2)).sum() };
        let mut full = vec![0.0; values.len()];
        let scale = 1.6 / 7.0;
        let codes: Vec<i8> = values.iter().map(|value| code_of(*value, scale, Bits::Int4)).collect();
        restore(&codes, &[scale], 32, &mut full);
        assert!(scales[0].abs() < 1.6 / 8.0 && error(&restored) < 0.8 * error(&full), "{scales:?}");
    }

    proptest! {
        #[test]
        fn scales_are_bf16_one_a_block_and_errors_within_a_step(
            values in prop::collection::vec(-3.0f32..3.0, 1..300),
            four in any::<bool>(),
        ) {
            let bits = if four { Bits::Int4 } else { Bits::Int8 };
            let (_, scales, restored) = round_trip(&values, bits);
            prop_assert_eq!(scales.len(), values.len().div_ceil(BLOCK_ELEMS));
            prop_assert!(scales.iter().all(|scale| scale.to_bits() & 0xffff == 0));
            let block = BLOCK_ELEMS;
            for (values, restored) in values.chunks(block).zip(restored.chunks(block)) {
                let largest = values.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
                let (lowest, _) = bits.range();
                let step = f64::from(largest) / -f64::from(lowest) * 1.15;
                let squares: f64 = values.iter().zip(restored).map(|(a, b)| f64::from(a - b).powi(2)).sum();
                // Never worse than the full range, rounded: half a step each.
                prop_assert!(squares <= values.len() as f64 * (step / 2.0).powi(2));
            }
        }
    }
}
