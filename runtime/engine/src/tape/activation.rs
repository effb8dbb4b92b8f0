//! Functions of single elements.

use std::ops::Range;

use hcrun_kernels::Real;
use hcrun_kernels::elementwise::{relu, relu_backward};
use hcrun_kernels::gelu::{gelu, gelu_backward};

use super::{Op, Pass, State, Tape, Value};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Function {
    /// By tanh, as in GPT-2.
    Gelu,
    Relu,
}

pub(crate) struct Activation {
    function: Function,
    x: Value,
    y: Value,
}

impl Activation {
    pub(crate) fn gelu<T: Real>(tape: &mut Tape<T>, x: Value) -> Value {
        Activation::push(tape, Function::Gelu, x)
    }

    pub(crate) fn relu<T: Real>(tape: &mut Tape<T>, x: Value) -> Value {
        Activation::push(tape, Function::Relu, x)
    }

    fn push<T: Real>(tape: &mut Tape<T>, function: Function, x: Value) -> Value {
        let y = tape.result(tape.width(x));
        tape.push(Activation { function, x, y });
        y
    }
}

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

    fn writes(&self) -> Vec<Range<usize>> {
        Vec::new()
    }
}
