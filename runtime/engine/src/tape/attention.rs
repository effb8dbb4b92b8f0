//! Causal self-attention between the projections.

use hcrun_kernels::Real;
use hcrun_kernels::attention::{Shape, attention, attention_backward};

use super::{Op, Pass, State};
use crate::graph::Attention;

impl Attention {
    fn shape(&self, pass: &Pass<'_>) -> Shape {
        let sequences = pass.rows / pass.length;
        Shape { sequences, length: pass.length, heads: self.heads, head_width: self.head_width }
    }
}

impl<T: Real> Op<T> for Attention {
    fn forward(&self, _params: &[T], pass: &Pass<'_>, state: &mut State<T>) {
        state.write_scratch(|state, scratch| {
            state.write(self.y, |state, y| {
                state.write(self.lse, |state, lse| {
                    attention(self.shape(pass), state.value(self.qkv), y, lse, scratch);
                });
            });
        });
    }

    fn backward(&self, _params: &[T], _gradient: &mut [T], pass: &Pass<'_>, state: &mut State<T>) {
        state.write_scratch(|state, scratch| {
            state.write_gradient(self.qkv, |state, mode, dqkv| {
                assert_eq!(mode, hcrun_kernels::matmul::Mode::Store, "attention is the only use of qkv");
                let (qkv, y) = (state.value(self.qkv), state.value(self.y));
                let (lse, dy) = (state.value(self.lse), state.gradient(self.y));
                attention_backward(self.shape(pass), qkv, y, lse, dy, dqkv, scratch);
            });
        });
    }
}
