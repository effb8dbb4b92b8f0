//! Sums of squares by chunk, folded in chunk order: the same bits on every rank and for any shard count.

use crate::simd::kernel;

/// Interleaved f64 accumulators of a chunk. Part of the result's definition, whatever the SIMD width.
const ACCUMULATORS: usize = 8;

kernel! {
    /// Sum of squares of one chunk in f64: element `i` goes to accumulator `i mod 8`, which are then added
    /// in order.
    ///
    /// Squares of f32 cannot overflow f64, so the sum is finite exactly if every element is.
    pub fn sum_of_squares<'a>(chunk: &'a [f32]) -> f64 {
        let mut sums = [0.0_f64; ACCUMULATORS];
        let (whole, rest) = chunk.as_chunks::<ACCUMULATORS>();
        for block in whole {
            for (sum, x) in sums.iter_mut().zip(block) {
                *sum += f64::from(*x) * f64::from(*x);
            }
        }
        for (sum, x) in sums.iter_mut().zip(rest) {
            *sum += f64::from(*x) * f64::from(*x);
        }
        let mut total = 0.0;
        for sum in sums {
            total += sum;
        }
        total
    }
}

/// One partial per chunk of `values`, whose start is a chunk's; the last may be short.
pub fn norm_partials(values: &[f32], chunk_elems: usize, partials: &mut Vec<f64>) {
    partials.extend(values.chunks(chunk_elems).map(sum_of_squares));
}

/// The sum of squares of an arena from the partials of all its chunks, in chunk order.
///
/// Infinite or NaN exactly if an element of the arena is.
pub fn fold_partials(partials: &[f64]) -> f64 {
    partials.iter().fold(0.0, |sum, partial| sum + partial)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_give_the_bits_of_the_whole() {
        let values: Vec<f32> = (0..10_000u16).map(|i| (f32::from(i) * 0.7).sin()).collect();
        let mut whole = Vec::new();
        norm_partials(&values, 1024, &mut whole);
        let mut parts = Vec::new();
        for shard in [0..2048, 2048..7168, 7168..10_000] {
            norm_partials(&values[shard], 1024, &mut parts);
        }
        assert_eq!(whole, parts);
        let plain: f64 = values.iter().map(|x| f64::from(*x).powi(2)).sum();
        assert!((fold_partials(&whole) - plain).abs() < 1e-9 * plain);
    }

    #[test]
    fn one_element_that_is_not_finite_shows() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut values = vec![f32::MAX; 100];
            assert!(sum_of_squares(&values).is_finite());
            values[97] = bad;
            assert!(!sum_of_squares(&values).is_finite());
        }
    }
}
