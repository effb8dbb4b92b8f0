//! The sum of two values.

use hcrun_kernels::Real;
use hcrun_kernels::elementwise::{put, sum_of};

use super::{Op, Pass, State};
use crate::graph::Residual;

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
}
