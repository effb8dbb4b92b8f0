//! How a lossy packing rounds.

use hcrun_protocol::dtype::Packing;
use hcrun_protocol::prng::{GOLDEN_GAMMA, hash64, mix64};

use crate::simd::kernel;

/// Which of its two neighbours in a lossy packing a value becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Rounding {
    /// The nearest one, ties to even.
    #[default]
    Nearest,
    /// Drawn such that the mean is the value. Draws depend on this key, the phase, the rank that packs and
    /// the element, never on where segments begin; rounds of different keys have independent errors.
    Stochastic { key: u64 },
}

impl Rounding {
    /// One draw for each element of a chunk whose first has index `start`; none to round to nearest.
    pub fn draws(self, packing: Packing, start: usize, draws: &mut [u32]) -> Option<&[u32]> {
        draw(self.stream(packing)?, start as u64, draws);
        Some(draws)
    }

    /// Where the generator of a packing's draws begins; none to round to nearest.
    pub fn stream(self, packing: Packing) -> Option<u64> {
        let Rounding::Stochastic { key } = self else { return None };
        Some(hash64(&[key, u64::from(packing.phase.0), u64::from(packing.source.0)]))
    }
}

kernel! {
    /// Upper halves of SplitMix64 from word `start` on: it is a counter through a mixer, so any word is as
    /// cheap as the next, and passes BigCrush. Philox takes five times the multiplications.
    fn draw<'a>(stream: u64, start: u64, draws: &'a mut [u32]) {
        let mut state = stream.wrapping_add(start.wrapping_mul(GOLDEN_GAMMA));
        for draw in draws {
            state = state.wrapping_add(GOLDEN_GAMMA);
            *draw = (mix64(state) >> 32) as u32;
        }
    }
}
