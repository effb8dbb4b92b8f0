//! Which algorithm a collective of one zone uses when nobody names one.

use crate::job::Algorithm;
use crate::time::Span;
use crate::units::BitsPerSec;

use super::Collective;

/// What the choice is a function of. Every rank has to come to the same answer, so what is measured must be
/// agreed on first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Choice {
    pub ranks: usize,
    /// Bytes of the buffer, as they go on the wire.
    pub bytes: u64,
    /// The longest among the links.
    pub round_trip: Span,
    /// Of a rank's own access to the network.
    pub rate: BitsPerSec,
}

/// Beyond this many neighbours a rank's connections cost more than a ring's hops, for buffers that keep a
/// ring busy.
const MANY_RANKS: usize = 16;
/// Bytes of a rank's share from which a ring of many ranks hides its hops.
const RING_SHARE_BYTES: u64 = 1 << 20;

impl Choice {
    /// The fastest by the usual model, a hop costing half a round trip and a byte its time on the wire:
    ///
    /// - one-shot: one hop, (N − 1) × bytes; only for an all-reduce
    /// - direct: two hops, 2 (N − 1) / N × bytes
    /// - ring: the same bytes as direct over two neighbours, 2 (N − 1) hops that a long buffer hides
    ///
    /// Among two ranks one-shot sends as much as direct, in half the hops.
    pub fn algorithm(&self, collective: Collective) -> Algorithm {
        let ranks = self.ranks as u64;
        let hop = self.round_trip.0 / 2;
        let time = |bytes: u64| self.rate.time_of(bytes).0;
        let everything = time(self.bytes.saturating_mul(ranks.saturating_sub(1)));
        let shares = time((self.bytes / ranks.max(1)).saturating_mul(2 * ranks.saturating_sub(1)));
        let one_shot = hop.saturating_add(everything) <= hop.saturating_mul(2).saturating_add(shares);
        if collective == Collective::AllReduce && (self.ranks <= 2 || one_shot) {
            Algorithm::OneShot
        } else if self.ranks > MANY_RANKS && self.bytes / ranks.max(1) >= RING_SHARE_BYTES {
            Algorithm::Ring
        } else {
            Algorithm::Direct
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choose(ranks: usize, bytes: u64, round_trip: Span, rate: u64) -> Algorithm {
        let choice = Choice { ranks, bytes, round_trip, rate: BitsPerSec(rate) };
        choice.algorithm(Collective::AllReduce)
    }

    #[test]
    fn small_buffers_take_one_hop_and_large_ones_few_bytes() {
        let lan = |ranks, bytes| choose(ranks, bytes, Span(200), 10_000_000_000);
        assert_eq!(lan(2, 1 << 30), Algorithm::OneShot);
        assert_eq!(lan(4, 8), Algorithm::OneShot);
        assert_eq!(lan(4, 64 << 20), Algorithm::Direct);
        assert_eq!(lan(32, 8), Algorithm::OneShot);
        assert_eq!(lan(32, 64 << 20), Algorithm::Ring);
        // A long link makes hops dear: at 100 ms and 1 Gbit/s two megabytes are small.
        assert_eq!(choose(4, 2 << 20, Span(100_000), 1_000_000_000), Algorithm::OneShot);
        assert_eq!(choose(4, 64 << 20, Span(100_000), 1_000_000_000), Algorithm::Direct);
    }

    #[test]
    fn one_shot_is_for_all_reduce_alone() {
        let choice = Choice { ranks: 2, bytes: 8, round_trip: Span(100), rate: BitsPerSec(1_000) };
        assert_eq!(choice.algorithm(Collective::ReduceScatter), Algorithm::Direct);
        assert_eq!(choice.algorithm(Collective::Gather), Algorithm::Direct);
    }

    #[test]
    fn nothing_overflows() {
        let choice =
            Choice { ranks: 0, bytes: u64::MAX, round_trip: Span(u64::MAX / 4), rate: BitsPerSec(1) };
        choice.algorithm(Collective::AllReduce);
        choose(1_024, u64::MAX / 4_096, Span(1), u64::MAX);
    }
}
