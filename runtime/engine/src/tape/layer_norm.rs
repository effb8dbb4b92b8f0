//! Layer normalisation with scale and shift.

use hcrun_kernels::Real;
use hcrun_kernels::layer_norm::{layer_norm, layer_norm_backward};

use super::{Op, Pass, State};
use crate::graph::LayerNorm;

impl<T: Real> Op<T> for LayerNorm {
    fn forward(&self, params: &[T], _pass: &Pass<'_>, state: &mut State<T>) {
        let (weight, bias) = (&params[self.weight.clone()], &params[self.bias.clone()]);
        state.write(self.y, |state, y| {
            state.write(self.moments, |state, moments| {
                layer_norm(state.value(self.x), weight, bias, y, moments);
            });
        });
    }

    fn backward(&self, params: &[T], gradient: &mut [T], _pass: &Pass<'_>, state: &mut State<T>) {
        let weight = &params[self.weight.clone()];
        let both = &mut gradient[self.weight.start..self.bias.end];
        let (dweight, dbias) = both.split_at_mut(weight.len());
        state.write_gradient(self.x, |state, mode, dx| {
            let (x, moments) = (state.value(self.x), state.value(self.moments));
            layer_norm_backward(mode, x, weight, moments, state.gradient(self.y), dx, dweight, dbias);
        });
    }
}
