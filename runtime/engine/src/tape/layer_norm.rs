//! Layer normalisation with scale and shift.

use std::ops::Range;

use hcrun_kernels::Real;
use hcrun_kernels::layer_norm::{layer_norm, layer_norm_backward};

use super::{Op, Pass, State, Tape, Value};

pub(crate) struct LayerNorm {
    x: Value,
    y: Value,
    /// Mean and reciprocal standard deviation of each row.
    moments: Value,
    weight: Range<usize>,
    bias: Range<usize>,
}

impl<T: Real> Tape<T> {
    /// # Panics
    /// If the shapes do not fit, or `bias` does not follow `weight` in the arena.
    pub(crate) fn layer_norm(&mut self, x: Value, weight: Range<usize>, bias: Range<usize>) -> Value {
        let width = self.width(x);
        assert!(weight.len() == width && bias.len() == width, "scale and shift of a norm over {width}");
        assert_eq!(weight.end, bias.start, "scale and shift lie next to each other");
        let (y, moments) = (self.result(width), self.saved(2));
        self.push(LayerNorm { x, y, moments, weight, bias });
        y
    }
}

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

    fn writes(&self) -> Vec<Range<usize>> {
        vec![self.weight.clone(), self.bias.clone()]
    }
}
