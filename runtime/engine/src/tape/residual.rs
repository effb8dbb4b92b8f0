//! The sum of two values.

use std::ops::Range;

use hcrun_kernels::Real;
use hcrun_kernels::elementwise::{put, sum_of};

use super::{Op, Pass, State, Tape, Value};

pub(crate) struct Residual {
    terms: [Value; 2],
    sum: Value,
}

impl<T: Real> Tape<T> {
    /// # Panics
    /// If the widths differ.
    pub(crate) fn add(&mut self, a: Value, b: Value) -> Value {
        assert_eq!(self.width(a), self.width(b), "widths of the terms of a sum");
        let sum = self.result(self.width(a));
        self.push(Residual { terms: [a, b], sum });
        sum
    }
}

impl<T: Real> Op<T> for Residual {
    fn forward(&self, _params: &[T], _pass: &Pass<'_>, state: &mut State<T>) {
        let [a, b] = self.terms;
        state.write(self.sum, |state, sum| sum_of(state.value(a), state.value(b), sum));
    }

    fn backward(&self, _params: &[T], _gradient: &mut [T], _pass: &Pass<'_>, state: &mut State<T>) {
        for term in self.terms {
            state.write_gradient(term, |state, mode, dx| put(mode, state.gradient(self.sum), dx));
        }
    }

    fn writes(&self) -> Vec<Range<usize>> {
        Vec::new()
    }
}
