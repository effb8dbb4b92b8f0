//! Functions of single elements.

use hcrun_kernels::Real;
use hcrun_kernels::elementwise::{relu, relu_backward};
use hcrun_kernels::gelu::{gelu, gelu_backward};

use super::{Op, Pass, State};
use crate::graph::{Activation, Function};

impl<T: Real> Op<T> for Activation {
    fn forward(&self, _params: &[T], _pass: &Pass<'_>, state: &mut State<T>) {
        state.write(self.y, |state, y| match self.function {
            Function::Gelu => gelu(state.value(self.x), y),
            Function::Relu => relu(state.value(self.x), y),
        });
    }

    fn backward(&self, _params: &[T], _gradient: &mut [T], _pass: &Pass<'_>, state: &mut State<T>) {
        state.write_gradient(self.x, |state, mode, dx| {
            let (x, dy) = (state.value(self.x), state.gradient(self.y));
            match self.function {
                Function::Gelu => gelu_backward(mode, x, dy, dx),
                Function::Relu => relu_backward(mode, x, dy, dx),
            }
        });
    }
}
