//! A 64-bit checksum of a buffer that does not depend on the order in which parts are visited.
//!
//! `Σ mix64(index, bits) mod 2^64`: parts are added, so shards of any size, on any rank, give the digest of
//! the whole. It finds replicas that differ; it is no protection against someone who wants a collision.

use hcrun_protocol::prng::mix64;

use crate::simd::kernel;

/// Odd, so that `index · SPREAD` visits every 64-bit word once.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

kernel! {
    /// Digest of `values`, of which the first has index `start` in its arena. Bits count, so that -0 differs
    /// from 0.
    pub fn digest<'a>(start: usize, values: &'a [f32]) -> u64 {
        let mut sum = 0_u64;
        let mut place = (start as u64).wrapping_mul(SPREAD);
        for value in values {
            place = place.wrapping_add(SPREAD);
            sum = sum.wrapping_add(mix64(place ^ u64::from(value.to_bits())));
        }
        sum
    }
}

/// Digest of two disjoint parts of one arena.
pub fn merge(a: u64, b: u64) -> u64 {
    a.wrapping_add(b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_split_in_any_order_gives_the_digest_of_the_whole() {
        let values: Vec<f32> = (0..3000u16).map(|i| (f32::from(i) * 0.3).cos()).collect();
        let whole = digest(0, &values);
        for cut in [0, 1, 17, 1024, 2999, 3000] {
            let parts = merge(digest(cut, &values[cut..]), digest(0, &values[..cut]));
            assert_eq!(parts, whole, "cut at {cut}");
        }
    }

    /// Digests travel between builds and lie in checkpoints: their definition stays. From a second
    /// implementation.
    #[test]
    fn digests_are_pinned() {
        assert_eq!(digest(7, &[1.0, -2.5, 0.0]), 0x59a8_c034_adb2_9ade);
    }

    #[test]
    fn a_changed_bit_and_two_swapped_values_show() {
        let values = [1.0_f32, 2.0, 3.0];
        assert_ne!(digest(0, &values), digest(0, &[2.0, 1.0, 3.0]));
        assert_ne!(digest(0, &values), digest(0, &[1.0, 2.0, 3.000_000_2]));
        assert_ne!(digest(0, &[0.0]), digest(0, &[-0.0]));
    }
}
