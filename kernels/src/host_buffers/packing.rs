//! Lossy packing of a range of a level.

use std::ops::Range;

use hcrun_protocol::dtype::{DType, Packing};
use hcrun_protocol::schedule::Level;

use super::append;
use super::levels::Levels;
use super::reduction::{BLOCK_ELEMS, blocks};
use crate::simd::kernel;
use crate::wire::{self, Rounding};

/// Appends the payload and leaves in the level what receivers decode. With a `residual`, as long as the
/// buffer, it is sent along and becomes what is lost now.
pub(super) fn pack(
    levels: &mut Levels<f32>,
    level: Level,
    range: Range<usize>,
    (packing, rounding): (Packing, Rounding),
    mut residual: Option<&mut [f32]>,
    out: &mut Vec<u8>,
) {
    let mut wanted = [0.0; BLOCK_ELEMS];
    let mut draws = [0; BLOCK_ELEMS];
    for block in blocks(range.clone()) {
        let draws = rounding.draws(packing, block.start, &mut draws[..block.len()]);
        let payload = append(out, packing.codec.payload_bytes(DType::F32, block.len()));
        let own = levels.own(level, block.clone());
        match &mut residual {
            None => {
                wire::pack(packing.codec, own, draws, payload);
                wire::unpack(packing.codec, payload, &mut levels.output[block]);
            }
            Some(residual) => {
                let wanted = &mut wanted[..block.len()];
                add(own, &residual[block.clone()], wanted);
                wire::pack(packing.codec, wanted, draws, payload);
                let decoded = &mut levels.output[block.clone()];
                wire::unpack(packing.codec, payload, decoded);
                lost(wanted, decoded, &mut residual[block]);
            }
        }
    }
    levels.mark_written(level, range);
}

kernel! {
    fn add<'a>(a: &'a [f32], b: &'a [f32], sum: &'a mut [f32]) {
        for ((sum, a), b) in sum.iter_mut().zip(a).zip(b) {
            *sum = a + b;
        }
    }

    /// Nothing where the decoded value is not finite: no later round could make up for it.
    fn lost<'a>(wanted: &'a [f32], decoded: &'a [f32], residual: &'a mut [f32]) {
        for ((residual, wanted), decoded) in residual.iter_mut().zip(wanted).zip(decoded) {
            *residual = if decoded.is_finite() { wanted - decoded } else { 0.0 };
        }
    }
}
