//! GELU in GPT-2's form, by tanh.
//!
//! `gelu(x) = x/2 · (1 + tanh u)` with `u = √(2/π) (x + 0.044715 x³)`, computed as `x · sigmoid(2u)`, which
//! is the same function with one exponential. Source: Hendrycks and Gimpel, "Gaussian error linear units".

use crate::Real;
use crate::matmul::Mode;
use crate::simd::kernel;

/// √(2/π).
const SCALE: f64 = 0.797_884_560_802_865_4;
const CUBE: f64 = 0.044_715;

#[inline(always)]
fn sigmoid_of_twice_u<T: Real>(x: T) -> T {
    let (linear, cube) = (T::from_f64(-2.0 * SCALE), T::from_f64(-2.0 * SCALE * CUBE));
    T::ONE / (T::ONE + (x * (linear + cube * x * x)).exp())
}

kernel! {
    /// `y = gelu(x)`.
    pub fn gelu<'a, T>(x: &'a [T], y: &'a mut [T]) {
        let x = &x[..y.len()];
        for i in 0..y.len() {
            y[i] = x[i] * sigmoid_of_twice_u(x[i]);
        }
    }

    /// `dx = dy · gelu'(x)`.
    pub fn gelu_backward<'a, T>(mode: Mode, x: &'a [T], dy: &'a [T], dx: &'a mut [T]) {
        let (x, dy) = (&x[..dx.len()], &dy[..dx.len()]);
        let (linear, cube) = (T::from_f64(2.0 * SCALE), T::from_f64(6.0 * SCALE * CUBE));
        for i in 0..dx.len() {
            let x = x[i];
            let s = sigmoid_of_twice_u(x);
            let slope = s + x * s * (T::ONE - s) * (linear + cube * x * x);
            let before = if mode == Mode::Add { dx[i] } else { T::ZERO };
            dx[i] = before + dy[i] * slope;
        }
    }
}
