//! Layer normalisation over rows, with scale and shift.

use crate::elementwise::lane_sum;
use crate::matmul::Mode;
use crate::simd::kernel;

/// Of PyTorch and GPT-2.
pub const EPSILON: f64 = 1e-5;

kernel! {
    /// `y = (x - mean) · rstd · weight + bias` for every row of `x [rows, width]`.
    ///
    /// `moments [rows, 2]` takes mean and reciprocal standard deviation for the way back.
    pub fn layer_norm<'a, T>(
        x: &'a [T],
        weight: &'a [T],
        bias: &'a [T],
        y: &'a mut [T],
        moments: &'a mut [T],
    ) {
        let width = weight.len();
        let bias = &bias[..width];
        let scale = T::ONE / T::from_f64(width as f64);
        let rows = x.chunks_exact(width).zip(y.chunks_exact_mut(width)).zip(moments.chunks_exact_mut(2));
        for ((x, y), moments) in rows {
            let mean = lane_sum(width, |i| x[i]) * scale;
            let variance = lane_sum(width, |i| (x[i] - mean) * (x[i] - mean)) * scale;
            let rstd = T::ONE / (variance + T::from_f64(EPSILON)).sqrt();
            moments[0] = mean;
            moments[1] = rstd;
            for i in 0..width {
                y[i] = (x[i] - mean) * rstd * weight[i] + bias[i];
            }
        }
    }

    /// Gradients of [`layer_norm`]: `dx` by `mode`, `dweight` and `dbias` always added.
    #[expect(clippy::too_many_arguments, reason = "five inputs, three outputs")]
    pub fn layer_norm_backward<'a, T>(
        mode: Mode,
        x: &'a [T],
        weight: &'a [T],
        moments: &'a [T],
        dy: &'a [T],
        dx: &'a mut [T],
        dweight: &'a mut [T],
        dbias: &'a mut [T],
    ) {
        let width = weight.len();
        let (dweight, dbias) = (&mut dweight[..width], &mut dbias[..width]);
        let scale = T::ONE / T::from_f64(width as f64);
        let rows = x
            .chunks_exact(width)
            .zip(dy.chunks_exact(width))
            .zip(dx.chunks_exact_mut(width))
            .zip(moments.chunks_exact(2));
        for (((x, dy), dx), moments) in rows {
            let (mean, rstd) = (moments[0], moments[1]);
            let sum = lane_sum(width, |i| dy[i] * weight[i]) * scale;
            let dot = lane_sum(width, |i| dy[i] * weight[i] * (x[i] - mean)) * rstd * scale;
            for i in 0..width {
                let normal = (x[i] - mean) * rstd;
                let before = if mode == Mode::Add { dx[i] } else { T::ZERO };
                dx[i] = before + (dy[i] * weight[i] - sum - normal * dot) * rstd;
                dweight[i] += dy[i] * normal;
                dbias[i] += dy[i];
            }
        }
    }
}
