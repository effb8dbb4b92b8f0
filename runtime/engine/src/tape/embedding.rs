//! Token embedding plus learned positions.

use hcrun_kernels::Real;
use hcrun_kernels::embedding::{embed, embed_backward};

use super::{Op, Pass, State};
use crate::graph::Embedding;

impl<T: Real> Op<T> for Embedding {
    fn forward(&self, params: &[T], pass: &Pass<'_>, state: &mut State<T>) {
        let (tokens, positions) = (&params[self.tokens.clone()], &params[self.positions.clone()]);
        state.write(self.y, |_, y| embed(pass.tokens, pass.length, self.width, tokens, positions, y));
    }

    fn backward(&self, _params: &[T], gradient: &mut [T], pass: &Pass<'_>, state: &mut State<T>) {
        let both = &mut gradient[self.tokens.start..self.positions.end];
        let (dtokens, dpositions) = both.split_at_mut(self.tokens.len());
        let dy = state.gradient(self.y);
        embed_backward(pass.tokens, pass.length, self.width, dy, dtokens, dpositions);
    }
}
