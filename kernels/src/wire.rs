//! Lossy packings of f32 values: what [`Codec`] names, as bytes.
//!
//! A payload is a function of the values, their index in the buffer and the draws alone, so that ranges may
//! be packed in any pieces that begin at whole blocks, on any CPU: only + - × ÷ and integer operations, on
//! single elements or (the largest magnitude of a block) in an order that does not matter.

mod blocks;
mod halves;
mod rounding;

use hcrun_protocol::dtype::{Codec, DType};

pub(crate) use halves::{Bf16, F16, Half};
pub use rounding::Rounding;

/// Packs `values`, of which the first begins a block, into a payload of exactly their length.
///
/// With `draws`, one an element, rounding is stochastic; else to nearest, ties to even.
///
/// # Panics
/// If the payload has another length, or for [`Codec::None`], which packs nothing.
pub fn pack(codec: Codec, values: &[f32], draws: Option<&[u32]>, payload: &mut [u8]) {
    assert_eq!(payload.len(), codec.payload_bytes(DType::F32, values.len()), "room for exactly the payload");
    match codec {
        Codec::None => unreachable!("{LOSSLESS}"),
        Codec::Bf16 => halves::pack(Bf16, values, draws, payload),
        Codec::F16 => halves::pack(F16, values, draws, payload),
        Codec::Int8 => blocks::pack_int8(values, draws, payload),
        Codec::Int4 => blocks::pack_int4(values, draws, payload),
    }
}

/// Reads as many values as `into` holds; `payload` has exactly their length. Any bytes are values.
///
/// # Panics
/// As [`pack`].
pub fn unpack(codec: Codec, payload: &[u8], into: &mut [f32]) {
    assert_eq!(payload.len(), codec.payload_bytes(DType::F32, into.len()), "a payload of exactly the range");
    match codec {
        Codec::None => unreachable!("{LOSSLESS}"),
        Codec::Bf16 => halves::unpack(Bf16, payload, into),
        Codec::F16 => halves::unpack(F16, payload, into),
        Codec::Int8 => blocks::unpack_int8(payload, into),
        Codec::Int4 => blocks::unpack_int4(payload, into),
    }
}

/// The nearest bf16, ties to even; infinite where that is out of range.
pub fn nearest_bf16(value: f32) -> f32 {
    Bf16.value(Bf16.nearest(value))
}

const LOSSLESS: &str = "elements that are not packed are copied by their own type: HostBuffers";

#[cfg(test)]
mod tests;
