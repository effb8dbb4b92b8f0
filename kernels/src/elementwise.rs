//! Additions over flat slices and rows, and the rectifier.

use crate::Real;
use crate::matmul::Mode;
use crate::simd::kernel;

/// Independent partial sums of a reduction: enough to fill two AVX-512 registers of f32.
pub(crate) const LANES: usize = 32;

/// Sum of `term(i)` for `i < count`, in lanes so that it vectorises.
#[inline(always)]
pub(crate) fn lane_sum<T: Real>(count: usize, term: impl Fn(usize) -> T) -> T {
    let mut lanes = [T::ZERO; LANES];
    let whole = count - count % LANES;
    let mut start = 0;
    while start < whole {
        for (lane, sum) in lanes.iter_mut().enumerate() {
            *sum += term(start + lane);
        }
        start += LANES;
    }
    let mut total = T::ZERO;
    for sum in lanes {
        total += sum;
    }
    for i in whole..count {
        total += term(i);
    }
    total
}

kernel! {
    /// `y = a + b`.
    pub fn sum_of<'a, T>(a: &'a [T], b: &'a [T], y: &'a mut [T]) {
        let (a, b) = (&a[..y.len()], &b[..y.len()]);
        for i in 0..y.len() {
            y[i] = a[i] + b[i];
        }
    }

    /// `y = x` or `y += x`.
    pub fn put<'a, T>(mode: Mode, x: &'a [T], y: &'a mut [T]) {
        let x = &x[..y.len()];
        match mode {
            Mode::Store => y.copy_from_slice(x),
            Mode::Add => {
                for i in 0..y.len() {
                    y[i] += x[i];
                }
            }
        }
    }

    /// Adds the sum over rows of `x [rows, width]` to `sums [width]`.
    pub fn add_row_sums<'a, T>(x: &'a [T], sums: &'a mut [T]) {
        let width = sums.len();
        for row in x.chunks_exact(width) {
            for i in 0..width {
                sums[i] += row[i];
            }
        }
    }

    /// `y = max(x, 0)`; NaN stays NaN.
    pub fn relu<'a, T>(x: &'a [T], y: &'a mut [T]) {
        let x = &x[..y.len()];
        for i in 0..y.len() {
            y[i] = if x[i] < T::ZERO { T::ZERO } else { x[i] };
        }
    }

    /// `dx = dy` where `x > 0`, else zero.
    pub fn relu_backward<'a, T>(mode: Mode, x: &'a [T], dy: &'a [T], dx: &'a mut [T]) {
        let (x, dy) = (&x[..dx.len()], &dy[..dx.len()]);
        for i in 0..dx.len() {
            let before = if mode == Mode::Add { dx[i] } else { T::ZERO };
            dx[i] = before + if x[i] > T::ZERO { dy[i] } else { T::ZERO };
        }
    }
}
