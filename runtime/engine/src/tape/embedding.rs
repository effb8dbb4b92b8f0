//! Token embedding plus learned positions.

use std::ops::Range;

use hcrun_kernels::Real;
use hcrun_kernels::embedding::{embed, embed_backward};

use super::{Op, Pass, State, Tape, Value};

pub(crate) struct Embedding {
    y: Value,
    width: usize,
    tokens: Range<usize>,
    positions: Range<usize>,
}

impl<T: Real> Tape<T> {
    /// # Panics
    /// If `positions` does not follow `tokens` in the arena.
    pub(crate) fn embedding(&mut self, width: usize, tokens: Range<usize>, positions: Range<usize>) -> Value {
        assert_eq!(tokens.end, positions.start, "token and position embeddings lie next to each other");
        let y = self.result(width);
        self.push(Embedding { y, width, tokens, positions });
        y
    }
}

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

    fn writes(&self) -> Vec<Range<usize>> {
        vec![self.tokens.clone(), self.positions.clone()]
    }
}
