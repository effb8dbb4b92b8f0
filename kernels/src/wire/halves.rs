//! Half precision and bf16 by integer operations, which vectorise without instructions of their own.
//!
//! The `half` crate converts with F16C one call at a time. NaN becomes the quiet NaN without sign, so that
//! its bits do not depend on the CPU that formed it.

use crate::simd::kernel;

/// A float format of 16 bits.
pub(crate) trait Half: Copy {
    /// Exact.
    fn value(self, bits: u16) -> f32;
    /// The nearest value's bits, ties to even; infinite where that is out of range.
    fn nearest(self, value: f32) -> u16;
    /// One of the two neighbours' bits, drawn such that the mean over all draws is the value.
    ///
    /// Above the largest finite value the upper neighbour is infinity.
    fn drawn(self, value: f32, draw: u32) -> u16;
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct F16;
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bf16;

impl Half for Bf16 {
    #[inline(always)]
    fn value(self, bits: u16) -> f32 {
        f32::from_bits(u32::from(bits) << 16)
    }

    #[inline(always)]
    fn nearest(self, value: f32) -> u16 {
        let bits = value.to_bits();
        // More than half of the last place carries; a tie carries if the last place is odd.
        bf16_or_nan(bits, bits.wrapping_add(0x7fff + ((bits >> 16) & 1)))
    }

    #[inline(always)]
    fn drawn(self, value: f32, draw: u32) -> u16 {
        let bits = value.to_bits();
        bf16_or_nan(bits, bits.wrapping_add(draw >> 16))
    }
}

#[inline(always)]
fn bf16_or_nan(bits: u32, carried: u32) -> u16 {
    let is_nan = bits & MAGNITUDE > INFINITY;
    low_half(if is_nan { 0x7fc0 } else { carried >> 16 })
}

impl Half for F16 {
    /// Source of both nearest conversions: Giesen, "float->half variants", 2012 (public domain).
    #[inline(always)]
    fn value(self, bits: u16) -> f32 {
        let bits = u32::from(bits);
        let (sign, magnitude) = ((bits & 0x8000) << 16, (bits & 0x7fff) << 13);
        let normal = magnitude + (EXPONENT_SHIFT << 23);
        // As the fraction of a float in [2^-14, 2^-13), whose leading bit is then taken off exactly.
        let subnormal = f32::from_bits(magnitude + SMALLEST_NORMAL) - f32::from_bits(SMALLEST_NORMAL);
        let magnitude = if magnitude < 1 << 23 {
            subnormal.to_bits()
        } else if magnitude >= 0x1f << 23 {
            normal + (EXPONENT_SHIFT << 23)
        } else {
            normal
        };
        f32::from_bits(sign | magnitude)
    }

    #[inline(always)]
    fn nearest(self, value: f32) -> u16 {
        let magnitude = value.to_bits() & MAGNITUDE;
        let tie_to_even = 0xfff + ((magnitude >> 13) & 1);
        let normal = magnitude.wrapping_sub(EXPONENT_SHIFT << 23).wrapping_add(tie_to_even) >> 13;
        // One unit of the last place of 0.5 is 2^-24, that of all subnormal halves: the addition rounds.
        let subnormal = (f32::from_bits(magnitude) + 0.5).to_bits().wrapping_sub(0.5_f32.to_bits());
        f16_of(value, if magnitude < SMALLEST_NORMAL { subnormal } else { normal })
    }

    #[inline(always)]
    fn drawn(self, value: f32, draw: u32) -> u16 {
        let magnitude = value.to_bits() & MAGNITUDE;
        let normal = magnitude.wrapping_sub(EXPONENT_SHIFT << 23).wrapping_add(draw >> 19) >> 13;
        // Subnormal halves are multiples of 2^-24.
        let units = f32::from_bits(magnitude) * 16_777_216.0;
        let subnormal = (round_drawn(units, draw) + WHOLE).to_bits().wrapping_sub(WHOLE.to_bits());
        f16_of(value, if magnitude < SMALLEST_NORMAL { subnormal } else { normal })
    }
}

/// The bits of a half from those of its rounded magnitude, which may be out of range.
#[inline(always)]
fn f16_of(value: f32, rounded: u32) -> u16 {
    /// 2^16: from here on the formula for normal values leaves the range.
    const OVERFLOW: u32 = 0x4780_0000;
    let magnitude = value.to_bits() & MAGNITUDE;
    let rounded = if magnitude >= OVERFLOW { 0x7c00 } else { rounded };
    let signed = rounded | ((value.to_bits() >> 16) & 0x8000);
    low_half(if magnitude > INFINITY { 0x7e00 } else { signed })
}

/// Rounds to one of the two neighbouring integers, such that the mean over all draws is the value up to
/// 2^-24; `value` is within ±2^22.
#[inline(always)]
pub(super) fn round_drawn(value: f32, draw: u32) -> f32 {
    let nearest = (value + WHOLE) - WHOLE;
    let floor = if nearest > value { nearest - 1.0 } else { nearest };
    // 24 bits are exact in f32.
    let uniform = (draw >> 8) as f32 * (1.0 / 16_777_216.0);
    if uniform < value - floor { floor + 1.0 } else { floor }
}

#[inline(always)]
fn low_half(bits: u32) -> u16 {
    let [a, b, ..] = bits.to_le_bytes();
    u16::from_le_bytes([a, b])
}

kernel! {
    pub(super) fn pack<'a; H: Half>(
        half: H,
        values: &'a [f32],
        draws: Option<&'a [u32]>,
        payload: &'a mut [u8],
    ) {
        let (words, _) = payload.as_chunks_mut::<2>();
        let pairs = words.iter_mut().zip(values);
        match draws {
            None => {
                for (word, value) in pairs {
                    *word = half.nearest(*value).to_le_bytes();
                }
            }
            Some(draws) => {
                for ((word, value), draw) in pairs.zip(draws) {
                    *word = half.drawn(*value, *draw).to_le_bytes();
                }
            }
        }
    }

    pub(super) fn unpack<'a; H: Half>(half: H, payload: &'a [u8], into: &'a mut [f32]) {
        let (words, _) = payload.as_chunks::<2>();
        for (value, word) in into.iter_mut().zip(words) {
            *value = half.value(u16::from_le_bytes(*word));
        }
    }
}

const MAGNITUDE: u32 = 0x7fff_ffff;
const INFINITY: u32 = 0x7f80_0000;
/// 2^-14, the smallest normal half.
const SMALLEST_NORMAL: u32 = 113 << 23;
/// Between the exponent's biases, 127 and 15.
const EXPONENT_SHIFT: u32 = 112;
/// 1.5 · 2^23: adding it leaves the nearest integer in the low bits of the significand.
pub(super) const WHOLE: f32 = 12_582_912.0;
