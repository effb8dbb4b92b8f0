//! The order of samples: a pure function from (seed, class, epoch, position) to a sample's index.
//!
//! No list is shuffled and no buffer is kept. Each epoch of a residency class is a permutation of its
//! samples by a Feistel network, so any position is found in constant time and memory, a cursor is one
//! integer, and every rank, also one that joins later, computes the same order.
//!
//! Source: Black and Rogaway, "Ciphers with arbitrary finite domains", 2002 (cycle walking).

use crate::prng::{hash64, mix64};

/// A permutation of `0..len`, keyed.
#[derive(Debug, Clone, Copy)]
pub struct Permutation {
    len: u64,
    /// Bits of each half; both halves together span at least `len` and less than four times it.
    half_bits: u32,
    key: u64,
}

impl Permutation {
    /// `len` below 2^62; a permutation of nothing has no positions to ask for.
    pub fn new(len: u64, key: u64) -> Permutation {
        assert!(len < 1 << 62, "a class of {len} samples is beyond every file system");
        let bits = u64::BITS - len.saturating_sub(1).leading_zeros();
        Permutation { len, half_bits: bits.div_ceil(2).max(1), key }
    }

    /// The index at `position`, which must be below the length.
    pub fn index(&self, position: u64) -> u64 {
        assert!(position < self.len, "position {position} of {}", self.len);
        // Walking the cycle comes back to `0..len` because `position` itself lies there; four steps at
        // most on average, since the network's domain is less than four times `len`.
        let mut index = self.encrypt(position);
        while index >= self.len {
            index = self.encrypt(index);
        }
        index
    }

    fn encrypt(&self, x: u64) -> u64 {
        let mask = (1u64 << self.half_bits) - 1;
        let (left, right) = (x >> self.half_bits, x & mask);
        let (left, right) = (0..ROUNDS).fold((left, right), |(left, right), round| {
            (right, left ^ (mix64(self.key ^ mix64(right ^ (round << 40))) & mask))
        });
        (left << self.half_bits) | right
    }
}

/// The sample at `position` of a class of `samples`; positions count on over epochs.
pub fn sample_at(seed: u64, class: usize, samples: u64, position: u64) -> u64 {
    let epoch = position / samples;
    Permutation::new(samples, hash64(&[ORDER_KEY, seed, class as u64, epoch])).index(position % samples)
}

/// Enough for halves of a few bits, where four rounds still show a pattern.
const ROUNDS: u64 = 8;

/// Keeps these draws apart from others keyed on the same seed: "order".
const ORDER_KEY: u64 = 0x006f_7264_6572;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_epoch_holds_each_sample_once(
            seed: u64, class in 0usize..5, samples in 1u64..3_000, epoch in 0u64..1_000_000
        ) {
            let start = epoch * samples;
            let mut drawn: Vec<u64> =
                (start..start + samples).map(|position| sample_at(seed, class, samples, position)).collect();
            drawn.sort_unstable();
            prop_assert!(drawn.into_iter().eq(0..samples));
        }

        #[test]
        fn a_large_class_stays_in_range(seed: u64, samples in 1u64..1 << 60, position in 0u64..1 << 60) {
            prop_assert!(sample_at(seed, 0, samples, position) < samples);
        }
    }

    #[test]
    fn small_lengths_are_bijective_exhaustively() {
        for len in 1..200 {
            for key in 0..20 {
                let permutation = Permutation::new(len, mix64(key));
                let mut seen: Vec<u64> = (0..len).map(|position| permutation.index(position)).collect();
                seen.sort_unstable();
                assert!(seen.into_iter().eq(0..len), "length {len}, key {key}");
            }
        }
    }

    #[test]
    fn epochs_classes_and_seeds_have_orders_of_their_own() {
        let order = |seed, class, epoch: u64| -> Vec<u64> {
            (epoch * 100..(epoch + 1) * 100).map(|position| sample_at(seed, class, 100, position)).collect()
        };
        let orders = [order(1, 0, 0), order(1, 0, 1), order(1, 1, 0), order(2, 0, 0)];
        for (index, order) in orders.iter().enumerate() {
            assert!(!orders[..index].contains(order));
        }
    }

    /// Every index is about equally likely at every position: chi-squared over 64 cells.
    #[test]
    fn positions_are_spread_evenly() {
        let (len, keys) = (8u64, 4_000u64);
        let mut counts = [[0u32; 8]; 8];
        for key in 0..keys {
            let permutation = Permutation::new(len, mix64(key));
            for (position, counts) in (0..).zip(&mut counts) {
                counts[usize::try_from(permutation.index(position)).unwrap()] += 1;
            }
        }
        let expected = keys as f64 / len as f64;
        let chi: f64 = counts.iter().flatten().map(|n| (f64::from(*n) - expected).powi(2) / expected).sum();
        // 49 degrees of freedom: 85.4 is passed by one draw in a thousand.
        assert!(chi < 95.0, "chi-squared is {chi}");
    }
}
