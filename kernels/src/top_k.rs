//! The k values of largest magnitude, exactly: a lossy packing for gradients that are mostly small.
//!
//! The threshold is found by histograms of magnitudes as integers, digit by digit, so that the choice is a
//! function of the values alone. NaN is above infinity and all NaN are equal, so that receivers see them. Of
//! equal magnitudes those with the lowest index are taken.
//!
//! With error feedback the values are first added to what was not sent yet ([`add`]), and
//! [`Selection::take_from`] leaves what is not sent now.

use crate::simd::kernel;

/// Which values are chosen, and how many of them are still to come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    /// All above it are chosen, and the first ones at it.
    threshold: u32,
    /// How many more at the threshold.
    ties: u64,
}

impl Selection {
    /// Of the largest `k` of all values of the parts, or of all if there are fewer.
    pub fn new<'a>(parts: impl Iterator<Item = &'a [f32]> + Clone, k: u64) -> Selection {
        let elems: u64 = parts.clone().map(|part| part.len() as u64).sum();
        let mut selection = Selection { threshold: 0, ties: k.min(elems) };
        if selection.ties == 0 {
            return Selection { threshold: ABOVE_ALL, ties: 0 };
        }
        for digit in DIGITS {
            let mut histogram = [0_u64; BINS];
            for part in parts.clone() {
                count(digit, selection.threshold, part, &mut histogram);
            }
            selection.append(digit, &histogram);
        }
        selection
    }

    /// The digit of the value that is taken last.
    fn append(&mut self, digit: Digit, histogram: &[u64; BINS]) {
        for bin in (0..=digit.mask).rev() {
            let count = histogram[bin as usize];
            if self.ties <= count {
                self.threshold = self.threshold << digit.mask.count_ones() | bin;
                return;
            }
            self.ties -= count;
        }
        unreachable!("no more are wanted than there are: Selection::new");
    }

    /// Hands out index and value of what is chosen of the next part, in order; `begin` is the index of its
    /// first value. NaN is the quiet one without sign.
    pub fn take(&mut self, begin: u64, part: &[f32], mut each: impl FnMut(u64, f32)) {
        for (index, value) in (begin..).zip(part) {
            if self.takes(*value) {
                each(index, one_nan(*value));
            }
        }
    }

    /// As [`Self::take`]; leaves what was not sent, except what is not finite: no later round could make up
    /// for it.
    pub fn take_from(&mut self, begin: u64, part: &mut [f32], mut each: impl FnMut(u64, f32)) {
        for (index, value) in (begin..).zip(part) {
            if self.takes(*value) {
                each(index, one_nan(*value));
                *value = 0.0;
            } else if !value.is_finite() {
                *value = 0.0;
            }
        }
    }

    fn takes(&mut self, value: f32) -> bool {
        let key = key_of(value);
        let tie = key == self.threshold && self.ties > 0;
        self.ties -= u64::from(tie);
        tie || key > self.threshold
    }
}

kernel! {
    /// Adds what was not sent yet.
    pub fn add<'a>(values: &'a [f32], wanted: &'a mut [f32]) {
        for (wanted, value) in wanted.iter_mut().zip(values) {
            *wanted += value;
        }
    }

    fn count<'a>(digit: Digit, above: u32, part: &'a [f32], histogram: &'a mut [u64; BINS]) {
        let above_shift = digit.shift + digit.mask.count_ones();
        for value in part {
            let key = key_of(*value);
            // Where no digit is known yet, both are 0.
            if key >> above_shift == above {
                histogram[((key >> digit.shift) & digit.mask) as usize] += 1;
            }
        }
    }
}

/// Adds chosen values where they belong; `begin` is the index of the first of `values`.
///
/// # Panics
/// If an index lies outside.
pub fn scatter_add(begin: u64, indices: &[u64], chosen: &[f32], values: &mut [f32]) {
    for (index, chosen) in indices.iter().zip(chosen) {
        let place = index.checked_sub(begin).and_then(|place| usize::try_from(place).ok());
        let value = place.and_then(|place| values.get_mut(place)).expect("indices lie inside of the values");
        *value = one_nan(*value + chosen);
    }
}

#[inline(always)]
fn key_of(value: f32) -> u32 {
    one_nan(value).abs().to_bits()
}

#[inline(always)]
fn one_nan(value: f32) -> f32 {
    if value.is_nan() { f32::NAN } else { value }
}

#[derive(Debug, Clone, Copy)]
struct Digit {
    shift: u32,
    mask: u32,
}

/// The 31 bits of a magnitude, from the top.
const DIGITS: [Digit; 3] =
    [Digit { shift: 20, mask: 0x7ff }, Digit { shift: 10, mask: 0x3ff }, Digit { shift: 0, mask: 0x3ff }];
const BINS: usize = 2048;
/// Greater than the bits of any magnitude that occurs.
const ABOVE_ALL: u32 = 0x7fff_ffff;

#[cfg(test)]
mod tests {
    use hcrun_protocol::Prng;
    use proptest::prelude::*;

    use super::*;

    const SPECIAL: [f32; 8] =
        [0.0, -0.0, f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e-45, -1e-40, f32::MAX];

    /// Few different magnitudes, so that there are ties.
    fn values(seed: u64, elems: usize) -> Vec<f32> {
        let mut draws = Prng::new(seed);
        let mut value = || match draws.below(20) {
            0 => SPECIAL[usize::try_from(draws.below(8)).unwrap()],
            share if share < 10 => draws.below(9) as f32 - 4.0,
            _ => f32::from(draws.next_u64().to_le_bytes()[0]) * 0.37 - 40.0,
        };
        (0..elems).map(|_| value()).collect()
    }

    fn chosen(parts: &[&[f32]], k: u64) -> Vec<(u64, u32)> {
        let mut selection = Selection::new(parts.iter().copied(), k);
        let (mut taken, mut begin) = (Vec::new(), 0);
        for part in parts {
            selection.take(begin, part, |index, value| taken.push((index, value.to_bits())));
            begin += part.len() as u64;
        }
        taken
    }

    /// Sorts everything: by magnitude, then by index.
    fn plain(values: &[f32], k: usize) -> Vec<(u64, u32)> {
        let key = |index: usize| {
            if values[index].is_nan() { f32::NAN.to_bits() } else { values[index].abs().to_bits() }
        };
        let mut order: Vec<usize> = (0..values.len()).collect();
        order.sort_by_key(|index| (u32::MAX - key(*index), *index));
        order.truncate(k);
        order.sort_unstable();
        let bits = |value: f32| if value.is_nan() { f32::NAN.to_bits() } else { value.to_bits() };
        order.into_iter().map(|index| (index as u64, bits(values[index]))).collect()
    }

    proptest! {
        #[test]
        fn the_largest_are_those_of_a_sort_whatever_the_parts(seed: u64, elems in 0_usize..400, k in 0_usize..450) {
            let values = values(seed, elems);
            let whole = chosen(&[&values], k as u64);
            prop_assert_eq!(&whole, &plain(&values, k));
            for shards in [2, 3, 7] {
                let parts: Vec<&[f32]> = values.chunks(elems.div_ceil(shards).max(1)).collect();
                prop_assert_eq!(&chosen(&parts, k as u64), &whole);
            }
        }
    }

    #[test]
    fn ties_are_cut_by_index_and_nan_comes_first() {
        let values = [1.0, f32::NAN, -2.0, 2.0, f32::NEG_INFINITY, 2.0, -f32::NAN];
        let indices = |k| chosen(&[&values], k).into_iter().map(|(index, _)| index).collect::<Vec<_>>();
        assert_eq!(indices(1), [1]);
        assert_eq!(indices(3), [1, 4, 6]);
        assert_eq!(indices(5), [1, 2, 3, 4, 6]);
        assert_eq!(chosen(&[&values], 2)[1].1, f32::NAN.to_bits(), "of either sign");
        assert_eq!(indices(0), [0_u64; 0]);
    }

    #[test]
    fn what_is_not_sent_is_sent_later() {
        let gradient = [0.5, -3.0, 0.2, 1.0];
        let mut wanted = [0.0; 4];
        let mut received = [0.0; 4];
        for _ in 0..40 {
            add(&gradient, &mut wanted);
            let mut selection = Selection::new([&wanted[..]].into_iter(), 1);
            let (mut index, mut value) = ([0], [0.0]);
            selection.take_from(7, &mut wanted, |i, v| (index, value) = ([i], [v]));
            scatter_add(7, &index, &value, &mut received);
        }
        for ((received, wanted), gradient) in received.iter().zip(wanted).zip(gradient) {
            assert!((received + wanted - 40.0 * gradient).abs() < 1e-4);
            assert!(*received != 0.0, "even the smallest had its turn");
        }
    }

    #[test]
    fn what_is_not_finite_is_not_sent_again() {
        let mut wanted = [f32::NAN, f32::INFINITY, 1.0, f32::NAN];
        let mut selection = Selection::new([&wanted[..]].into_iter(), 1);
        let mut taken = Vec::new();
        selection.take_from(u64::from(u32::MAX) + 5, &mut wanted, |index, _| taken.push(index));
        assert_eq!(taken, [u64::from(u32::MAX) + 5]);
        assert_eq!(wanted, [0.0, 0.0, 1.0, 0.0]);
    }
}
