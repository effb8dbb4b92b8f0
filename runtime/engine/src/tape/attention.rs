//! Causal self-attention between the projections.

use std::ops::Range;

use hcrun_kernels::Real;
use hcrun_kernels::attention::{Shape, attention, attention_backward, scratch_elems};

use super::{Op, Pass, State, Tape, Value};

pub(crate) struct Attention {
    qkv: Value,
    y: Value,
    /// Logsumexp of each row's scores: `[sequences, heads, length]`.
    lse: Value,
    heads: usize,
    head_width: usize,
}

impl<T: Real> Tape<T> {
    /// `qkv [rows, 3, heads, head width]`; sequences are at most `context` long.
    ///
    /// # Panics
    /// If the width is no multiple of three times the heads, or `qkv` has another use.
    pub(crate) fn attention(&mut self, qkv: Value, heads: usize, context: usize) -> Value {
        let width = self.width(qkv) / 3;
        assert!(self.width(qkv) == 3 * width && width.is_multiple_of(heads), "{heads} heads");
        let (y, lse) = (self.result(width), self.saved(heads));
        self.reserve_scratch(scratch_elems(context));
        self.push(Attention { qkv, y, lse, heads, head_width: width / heads });
        y
    }
}

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

    fn writes(&self) -> Vec<Range<usize>> {
        Vec::new()
    }
}
