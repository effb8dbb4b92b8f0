//! The end of a tape: summed loss of the batch, by the kind of its targets.

use hcrun_kernels::Real;
use hcrun_kernels::cross_entropy::{cross_entropy, cross_entropy_backward};
use hcrun_kernels::mean_squared_error::{squared_error, squared_error_backward};

use super::{Op, Pass, State};
use crate::batch::Targets;
use crate::graph::Loss;

impl<T: Real> Op<T> for Loss {
    fn forward(&self, _params: &[T], pass: &Pass<'_>, state: &mut State<T>) {
        match pass.targets {
            None => {}
            Some(Targets::Class(classes)) => state.write(self.lse, |state, lse| {
                state.loss = cross_entropy(state.value(self.predictions), self.outputs, classes, lse);
            }),
            Some(Targets::Value(targets)) => {
                state.loss = squared_error(state.value(self.predictions), self.outputs, targets);
            }
        }
    }

    fn backward(&self, _params: &[T], _gradient: &mut [T], pass: &Pass<'_>, state: &mut State<T>) {
        // The only use of the predictions, so always stored.
        state.write_gradient(self.predictions, |state, _, dpredictions| {
            let predictions = state.value(self.predictions);
            match pass.targets {
                None => dpredictions.fill(T::ZERO),
                Some(Targets::Class(classes)) => {
                    let lse = state.value(self.lse);
                    cross_entropy_backward(predictions, self.outputs, classes, lse, dpredictions);
                }
                Some(Targets::Value(targets)) => {
                    squared_error_backward(predictions, self.outputs, targets, dpredictions);
                }
            }
        });
    }
}
