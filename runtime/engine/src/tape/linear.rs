//! `y = x · weightᵀ + bias`, with PyTorch's weight `[outputs, inputs]`.

use hcrun_kernels::Real;
use hcrun_kernels::elementwise::add_row_sums;
use hcrun_kernels::matmul::{Addend, Matrix, MatrixMut, Mode, matmul_in};

use super::{Op, Pass, State};
use crate::graph::Linear;

impl<T: Real> Op<T> for Linear {
    fn forward(&self, params: &[T], pass: &Pass<'_>, state: &mut State<T>) {
        let weight = Matrix::new(&params[self.weight.clone()], self.outputs, self.inputs);
        state.write(self.y, |state, y| {
            let addend = match &self.bias {
                Some(bias) => Addend::Row(&params[bias.clone()]),
                None => Addend::Zero,
            };
            let x = Matrix::new(state.value(self.x), pass.rows, self.inputs);
            let y = MatrixMut::new(y, pass.rows, self.outputs);
            matmul_in(state.matmul, y, addend, T::ONE, x, weight.transposed());
        });
    }

    fn backward(&self, params: &[T], gradient: &mut [T], pass: &Pass<'_>, state: &mut State<T>) {
        if let Some(bias) = &self.bias {
            add_row_sums(state.gradient(self.y), &mut gradient[bias.clone()]);
        }
        let dweight = MatrixMut::new(&mut gradient[self.weight.clone()], self.outputs, self.inputs);
        let dy = Matrix::new(state.gradient(self.y), pass.rows, self.outputs);
        let x = Matrix::new(state.value(self.x), pass.rows, self.inputs);
        matmul_in(state.matmul, dweight, Mode::Add, T::ONE, dy.transposed(), x);
        state.write_gradient(self.x, |state, mode, dx| {
            let dy = Matrix::new(state.gradient(self.y), pass.rows, self.outputs);
            let weight = Matrix::new(&params[self.weight.clone()], self.outputs, self.inputs);
            matmul_in(state.matmul, MatrixMut::new(dx, pass.rows, self.inputs), mode, T::ONE, dy, weight);
        });
    }
}
