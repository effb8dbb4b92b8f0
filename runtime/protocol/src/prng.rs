//! Randomness that is the same in every process: seeded, splittable by key, integer arithmetic only.

use serde::{Deserialize, Serialize};

/// SplitMix64. Small, seedable and good enough for data order, simulation and initial weights.
///
/// Source: Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prng {
    state: u64,
}

pub const GOLDEN_GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

impl Prng {
    pub fn new(seed: u64) -> Prng {
        Prng { state: seed }
    }

    /// A generator keyed on several numbers: equal keys, equal draws, on every rank.
    pub fn keyed(key: &[u64]) -> Prng {
        Prng::new(hash64(key))
    }

    pub fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(GOLDEN_GAMMA);
        mix64(self.state)
    }

    /// Uniform in `0..bound`. `bound` must not be 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        // The bias of the multiply-shift is below bound / 2^64.
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// Uniform in [0, 1), 53 bits.
    pub fn uniform(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// Standard normal by Box and Muller, with libm so that every CPU draws the same bits.
    pub fn normal(&mut self) -> f64 {
        let radius = libm::sqrt(-2.0 * libm::log(1.0 - self.uniform()));
        radius * libm::cos(std::f64::consts::TAU * self.uniform())
    }
}

/// SplitMix64's finaliser: a bijection of 64 bits.
pub fn mix64(x: u64) -> u64 {
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// A hash of a short list of numbers; order and length matter.
pub fn hash64(key: &[u64]) -> u64 {
    let start = mix64((key.len() as u64).wrapping_add(GOLDEN_GAMMA));
    key.iter().fold(start, |hash, word| mix64(hash ^ word.wrapping_add(GOLDEN_GAMMA)).wrapping_add(*word))
}

/// A hash of bytes, for keys that are names.
pub fn hash_bytes(bytes: &[u8]) -> u64 {
    let mut words = vec![bytes.len() as u64];
    words.extend(bytes.chunks(8).map(|chunk| {
        let mut word = [0u8; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        u64::from_le_bytes(word)
    }));
    hash64(&words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_are_pinned() {
        // Reference values of SplitMix64 with seed 1234567.
        let mut prng = Prng::new(1_234_567);
        assert_eq!(prng.next_u64(), 6_457_827_717_110_365_317);
        assert_eq!(prng.next_u64(), 3_203_168_211_198_807_973);
    }

    #[test]
    fn keys_differ_by_order_and_length() {
        assert_ne!(hash64(&[1, 2]), hash64(&[2, 1]));
        assert_ne!(hash64(&[0]), hash64(&[0, 0]));
        assert_ne!(hash_bytes(b"a"), hash_bytes(b"a\0"));
    }

    #[test]
    fn normal_has_mean_zero_and_variance_one() {
        let mut prng = Prng::new(7);
        let draws: Vec<f64> = (0..20_000).map(|_| prng.normal()).collect();
        let mean = draws.iter().sum::<f64>() / 20_000.0;
        let variance = draws.iter().map(|x| x * x).sum::<f64>() / 20_000.0;
        assert!(mean.abs() < 0.03 && (variance - 1.0).abs() < 0.05, "mean {mean}, variance {variance}");
    }
}
