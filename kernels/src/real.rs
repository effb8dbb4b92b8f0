//! f32 for training, f64 so that gradient checks by finite differences are sharp.

use std::fmt::Debug;
use std::ops::{Add, AddAssign, Div, Mul, MulAssign, Neg, Sub, SubAssign};

use crate::matmul::{self, Addend, Matrix, MatrixMut};

/// A float type that the forward and backward kernels are written for.
pub trait Real:
    Copy
    + Debug
    + Default
    + PartialOrd
    + Send
    + Sync
    + 'static
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + AddAssign
    + SubAssign
    + MulAssign
{
    const ZERO: Self;
    const ONE: Self;

    /// Rounds to nearest.
    fn from_f64(x: f64) -> Self;
    fn from_f32(x: f32) -> Self;
    fn to_f64(self) -> f64;
    /// Rounds to nearest.
    fn to_f32(self) -> f32;
    fn sqrt(self) -> Self;
    /// Written so that loops over it vectorise. NaN stays NaN.
    fn exp(self) -> Self;
    /// A product, of shapes that fit.
    fn matmul(
        c: MatrixMut<'_, Self>,
        addend: Addend<'_, Self>,
        scale: Self,
        a: Matrix<'_, Self>,
        b: Matrix<'_, Self>,
    );
    /// A product of factors rounded to bf16; f64, which is there to check gradients, does not round.
    fn matmul_bf16(
        c: MatrixMut<'_, Self>,
        addend: Addend<'_, Self>,
        scale: Self,
        a: Matrix<'_, Self>,
        b: Matrix<'_, Self>,
    );
}

impl Real for f32 {
    const ZERO: f32 = 0.0;
    const ONE: f32 = 1.0;

    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "rounds to nearest, as documented")]
    fn from_f64(x: f64) -> f32 {
        x as f32
    }
    #[inline(always)]
    fn from_f32(x: f32) -> f32 {
        x
    }
    #[inline(always)]
    fn to_f64(self) -> f64 {
        f64::from(self)
    }
    #[inline(always)]
    fn to_f32(self) -> f32 {
        self
    }
    #[inline(always)]
    fn sqrt(self) -> f32 {
        f32::sqrt(self)
    }

    /// Within 2 units in the last place; below -87.3 zero (no denormals).
    ///
    /// `exp(x) = 2^n · exp(r)` with `|r| <= ln 2 / 2`, the second factor by the minimax polynomial of
    /// Cephes (`expf.c`). About 1 ns an element with AVX-512, where std's `expf` takes 5.
    #[inline(always)]
    fn exp(self) -> f32 {
        // Adding 1.5 · 2^23 leaves the nearest integer in the low bits of the significand.
        const ROUND: f32 = 12_582_912.0;
        const LOWEST: f32 = -87.3;
        const HIGHEST: f32 = 88.0;
        // ln 2 in two parts, so that `n · LN_2_HIGH` is exact.
        const LN_2_HIGH: f32 = 0.693_359_4;
        const LN_2_LOW: f32 = -2.121_944_4e-4;

        let x = if self > HIGHEST { HIGHEST } else { self };
        let x = if x < LOWEST { LOWEST } else { x };
        let rounded = x * std::f32::consts::LOG2_E + ROUND;
        let n = rounded - ROUND;
        let r = (x - n * LN_2_HIGH) - n * LN_2_LOW;
        let mut poly = 1.987_569_1e-4_f32;
        poly = poly * r + 1.398_199_9e-3;
        poly = poly * r + 8.333_452e-3;
        poly = poly * r + 4.166_579_6e-2;
        poly = poly * r + 1.666_666_5e-1;
        poly = poly * r + 5e-1;
        let fraction = poly * (r * r) + r + 1.0;
        let exponent = rounded.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127) << 23;
        let result = fraction * f32::from_bits(exponent);
        let result = if self < LOWEST { 0.0 } else { result };
        if self > HIGHEST { f32::INFINITY } else { result }
    }

    fn matmul(
        c: MatrixMut<'_, f32>,
        addend: Addend<'_, f32>,
        scale: f32,
        a: Matrix<'_, f32>,
        b: Matrix<'_, f32>,
    ) {
        matmul::matmul_f32(c, addend, scale, a, b);
    }
    fn matmul_bf16(
        c: MatrixMut<'_, f32>,
        addend: Addend<'_, f32>,
        scale: f32,
        a: Matrix<'_, f32>,
        b: Matrix<'_, f32>,
    ) {
        matmul::matmul_bf16(c, addend, scale, a, b);
    }
}

impl Real for f64 {
    const ZERO: f64 = 0.0;
    const ONE: f64 = 1.0;

    #[inline(always)]
    fn from_f64(x: f64) -> f64 {
        x
    }
    #[inline(always)]
    fn from_f32(x: f32) -> f64 {
        f64::from(x)
    }
    #[inline(always)]
    fn to_f64(self) -> f64 {
        self
    }
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "rounds to nearest, as documented")]
    fn to_f32(self) -> f32 {
        self as f32
    }
    #[inline(always)]
    fn sqrt(self) -> f64 {
        f64::sqrt(self)
    }
    fn exp(self) -> f64 {
        libm::exp(self)
    }

    fn matmul(
        c: MatrixMut<'_, f64>,
        addend: Addend<'_, f64>,
        scale: f64,
        a: Matrix<'_, f64>,
        b: Matrix<'_, f64>,
    ) {
        matmul::matmul_portable(c, addend, scale, a, b);
    }
    fn matmul_bf16(
        c: MatrixMut<'_, f64>,
        addend: Addend<'_, f64>,
        scale: f64,
        a: Matrix<'_, f64>,
        b: Matrix<'_, f64>,
    ) {
        matmul::matmul_portable(c, addend, scale, a, b);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_within_two_units_in_the_last_place() {
        for i in -87_299..88_000 {
            let x = i as f32 * 1e-3;
            let exact = f64::from(x).exp();
            let error = (f64::from(Real::exp(x)) - exact).abs() / exact;
            assert!(error < 2.0 * f64::from(f32::EPSILON), "exp({x}) is off by {error:e} of its value");
        }
    }

    #[test]
    fn exp_at_its_ends() {
        assert_eq!(Real::exp(0.0_f32), 1.0);
        assert_eq!(Real::exp(-88.0_f32), 0.0);
        assert_eq!(Real::exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(Real::exp(f32::INFINITY), f32::INFINITY);
        assert!(Real::exp(f32::NAN).is_nan());
    }
}
