//! Small integers in blocks that share a scale.
//!
//! The scale is the largest magnitude over the largest code, rounded up to bf16 so that no code is out of
//! range, and at least the smallest normal f32, so that its inverse is finite. A block that is not finite,
//! or whose largest code would decode to infinity, has the scale NaN: every receiver sees it.
//!
//! Blocks are counted by elements: 127 of them in 4 bits have the bytes of a whole block.

use hcrun_protocol::dtype::Codec;

use super::halves::{Bf16, Half, WHOLE, round_drawn};
use crate::simd::kernel;

kernel! {
    pub(super) fn pack_int8<'a>(values: &'a [f32], draws: Option<&'a [u32]>, payload: &'a mut [u8]) {
        let (blocks, short) = values.as_chunks::<INT8_ELEMS>();
        let (packed, packed_short) = payload.split_at_mut(blocks.len() * (SCALE_BYTES + INT8_ELEMS));
        let (packed, _) = packed.as_chunks_mut::<{ SCALE_BYTES + INT8_ELEMS }>();
        for (index, (block, packed)) in blocks.iter().zip(packed).enumerate() {
            let draws = draws.map(|draws| &draws[index * INT8_ELEMS..][..INT8_ELEMS]);
            let (scale, codes) = packed.split_at_mut(SCALE_BYTES);
            scale.copy_from_slice(&quantise(block, INT8_LIMIT, draws, codes));
        }
        if !short.is_empty() {
            let draws = draws.map(|draws| &draws[blocks.len() * INT8_ELEMS..]);
            let (scale, codes) = packed_short.split_at_mut(SCALE_BYTES);
            scale.copy_from_slice(&quantise(short, INT8_LIMIT, draws, codes));
        }
    }

    pub(super) fn unpack_int8<'a>(payload: &'a [u8], into: &'a mut [f32]) {
        let (blocks, short) = into.as_chunks_mut::<INT8_ELEMS>();
        let (packed, packed_short) = payload.split_at(blocks.len() * (SCALE_BYTES + INT8_ELEMS));
        let (packed, _) = packed.as_chunks::<{ SCALE_BYTES + INT8_ELEMS }>();
        for (block, packed) in blocks.iter_mut().zip(packed) {
            dequantise(scale_of(packed), &packed[SCALE_BYTES..], block);
        }
        if !short.is_empty() {
            dequantise(scale_of(packed_short), &packed_short[SCALE_BYTES..], short);
        }
    }

    pub(super) fn pack_int4<'a>(values: &'a [f32], draws: Option<&'a [u32]>, payload: &'a mut [u8]) {
        let (blocks, short) = values.as_chunks::<INT4_ELEMS>();
        let (packed, packed_short) = payload.split_at_mut(blocks.len() * (SCALE_BYTES + INT4_BYTES));
        let (packed, _) = packed.as_chunks_mut::<{ SCALE_BYTES + INT4_BYTES }>();
        for (index, (block, packed)) in blocks.iter().zip(packed).enumerate() {
            let draws = draws.map(|draws| &draws[index * INT4_ELEMS..][..INT4_ELEMS]);
            let mut codes = [0; INT4_ELEMS];
            let (scale, nibbles) = packed.split_at_mut(SCALE_BYTES);
            scale.copy_from_slice(&quantise(block, INT4_LIMIT, draws, &mut codes));
            join_nibbles(&codes, nibbles);
        }
        if !short.is_empty() {
            let draws = draws.map(|draws| &draws[blocks.len() * INT4_ELEMS..]);
            // The last high nibble is 0 where the count is odd.
            let mut codes = [0; INT4_ELEMS];
            let (scale, nibbles) = packed_short.split_at_mut(SCALE_BYTES);
            scale.copy_from_slice(&quantise(short, INT4_LIMIT, draws, &mut codes[..short.len()]));
            join_nibbles(&codes, nibbles);
        }
    }

    pub(super) fn unpack_int4<'a>(payload: &'a [u8], into: &'a mut [f32]) {
        let (blocks, short) = into.as_chunks_mut::<INT4_ELEMS>();
        let (packed, packed_short) = payload.split_at(blocks.len() * (SCALE_BYTES + INT4_BYTES));
        let (packed, _) = packed.as_chunks::<{ SCALE_BYTES + INT4_BYTES }>();
        for (block, packed) in blocks.iter_mut().zip(packed) {
            dequantise(scale_of(packed), &split_nibbles(&packed[SCALE_BYTES..]), block);
        }
        if !short.is_empty() {
            let codes = split_nibbles(&packed_short[SCALE_BYTES..]);
            dequantise(scale_of(packed_short), &codes, short);
        }
    }
}

/// One code an element as two's complement in 8 bits; returns the scale's bytes.
#[inline(always)]
fn quantise(values: &[f32], limit: f32, draws: Option<&[u32]>, codes: &mut [u8]) -> [u8; SCALE_BYTES] {
    // As integers, magnitudes have the order of their values, and NaN is above all of them.
    let largest = values.iter().fold(0, |largest: u32, value| largest.max(value.abs().to_bits()));
    let scale = scale_for(f32::from_bits(largest), limit);
    if !scale.is_nan() {
        let inverse = if scale > 0.0 { 1.0 / scale } else { 0.0 };
        encode(values, inverse, limit, draws, codes);
    } else {
        codes.fill(0);
    }
    Bf16.nearest(scale).to_le_bytes()
}

#[inline(always)]
fn encode(values: &[f32], inverse: f32, limit: f32, draws: Option<&[u32]>, codes: &mut [u8]) {
    let pairs = codes.iter_mut().zip(values);
    match draws {
        None => {
            for (code, value) in pairs {
                *code = code_of(clamp(value * inverse, limit));
            }
        }
        Some(draws) => {
            for ((code, value), draw) in pairs.zip(draws) {
                *code = code_of(clamp(round_drawn(value * inverse, *draw), limit));
            }
        }
    }
}

/// Exactly a bf16.
#[inline(always)]
fn scale_for(largest: f32, limit: f32) -> f32 {
    if largest == 0.0 || !largest.is_finite() {
        return if largest == 0.0 { 0.0 } else { f32::NAN };
    }
    let bits = (largest / limit).to_bits();
    let rounded_up = f32::from_bits((bits + 0xffff) & 0xffff_0000);
    let scale = if rounded_up < f32::MIN_POSITIVE { f32::MIN_POSITIVE } else { rounded_up };
    if (scale * limit).is_finite() { scale } else { f32::NAN }
}

/// The nearest integer, ties to even.
#[inline(always)]
fn code_of(value: f32) -> u8 {
    (value + WHOLE).to_bits().to_le_bytes()[0]
}

#[inline(always)]
fn clamp(value: f32, limit: f32) -> f32 {
    let value = if value > limit { limit } else { value };
    if value < -limit { -limit } else { value }
}

#[inline(always)]
fn scale_of(packed: &[u8]) -> f32 {
    Bf16.value(u16::from_le_bytes([packed[0], packed[1]]))
}

#[inline(always)]
fn dequantise(scale: f32, codes: &[u8], into: &mut [f32]) {
    for (value, code) in into.iter_mut().zip(codes) {
        let product = f32::from(code.cast_signed()) * scale;
        // The bits of a product's NaN depend on the machine.
        *value = if product.is_nan() { f32::NAN } else { product };
    }
}

#[inline(always)]
fn join_nibbles(codes: &[u8; INT4_ELEMS], nibbles: &mut [u8]) {
    let (pairs, _) = codes.as_chunks::<2>();
    for (byte, [even, odd]) in nibbles.iter_mut().zip(pairs) {
        *byte = (even & 0x0f) | (odd << 4);
    }
}

#[inline(always)]
fn split_nibbles(nibbles: &[u8]) -> [u8; INT4_ELEMS] {
    let mut codes = [0; INT4_ELEMS];
    let (pairs, _) = codes.as_chunks_mut::<2>();
    for (pair, byte) in pairs.iter_mut().zip(nibbles) {
        let both = u16::from(*byte);
        let nibbles = ((both & 0x0f) | ((both & 0xf0) << 4)) ^ 0x0808;
        // The sign bit, flipped, is taken off again: sign extension within each byte.
        *pair = nibbles.to_le_bytes().map(|nibble| nibble.wrapping_sub(8));
    }
    codes
}

const INT8_ELEMS: usize = Codec::Int8.block_elems();
const INT4_ELEMS: usize = Codec::Int4.block_elems();
const INT4_BYTES: usize = INT4_ELEMS / 2;
const SCALE_BYTES: usize = 2;
const INT8_LIMIT: f32 = 127.0;
const INT4_LIMIT: f32 = 7.0;
