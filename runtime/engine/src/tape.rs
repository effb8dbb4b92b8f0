//! Runs a graph on the CPU: each operation by hand-written ways forward and back.
//!
//! Buffers are allocated when a larger batch comes, so a step allocates nothing.

mod activation;
mod attention;
mod embedding;
mod layer_norm;
mod linear;
mod loss;
mod residual;

use std::ops::Range;

use hcrun_kernels::Real;
use hcrun_kernels::attention::scratch_elems;
use hcrun_kernels::matmul::Mode;
use hcrun_protocol::job::Matmul;

use crate::batch::Targets;
use crate::graph::{Graph, Operation, Role, Shape, Value};

/// One operation. `forward` reads and writes values; `backward` runs after all that use its result.
pub(crate) trait Op<T: Real>: Send {
    fn forward(&self, params: &[T], pass: &Pass<'_>, state: &mut State<T>);
    fn backward(&self, params: &[T], gradient: &mut [T], pass: &Pass<'_>, state: &mut State<T>);
}

/// The batch of one pass.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pass<'a> {
    pub(crate) rows: usize,
    /// Rows of one sequence; 1 for tables.
    pub(crate) length: usize,
    pub(crate) tokens: &'a [u8],
    /// None for prediction.
    pub(crate) targets: Option<Targets<'a>>,
}

#[derive(Debug)]
struct Slot<T> {
    width: usize,
    differentiable: bool,
    value: Vec<T>,
    gradient: Vec<T>,
    /// The gradient has been stored in this pass.
    written: bool,
}

/// All buffers of a tape.
#[derive(Debug)]
pub(crate) struct State<T> {
    slots: Vec<Slot<T>>,
    rows: usize,
    capacity: usize,
    /// For operations that need room within a call.
    scratch: Vec<T>,
    pub(crate) loss: f64,
    /// Of linear layers.
    matmul: Matmul,
}

impl<T: Real> State<T> {
    pub(crate) fn value(&self, value: Value) -> &[T] {
        let slot = &self.slots[value.index()];
        &slot.value[..self.rows * slot.width]
    }

    /// Gradient of a value that is complete: all that use it have run backward.
    fn gradient(&self, value: Value) -> &[T] {
        let slot = &self.slots[value.index()];
        debug_assert!(slot.written, "gradient of value {} is read before it is written", value.index());
        &slot.gradient[..self.rows * slot.width]
    }

    /// Lends a value for writing while the others can be read.
    pub(crate) fn write(&mut self, value: Value, with: impl FnOnce(&mut Self, &mut [T])) {
        let mut buffer = std::mem::take(&mut self.slots[value.index()].value);
        let elems = self.rows * self.slots[value.index()].width;
        with(self, &mut buffer[..elems]);
        self.slots[value.index()].value = buffer;
    }

    /// Lends the gradient of a value, to store or to add as `Mode` says; not called for inputs.
    fn write_gradient(&mut self, value: Value, with: impl FnOnce(&mut Self, Mode, &mut [T])) {
        let slot = &mut self.slots[value.index()];
        if !slot.differentiable {
            return;
        }
        let mode = if slot.written { Mode::Add } else { Mode::Store };
        slot.written = true;
        let mut buffer = std::mem::take(&mut slot.gradient);
        let elems = self.rows * slot.width;
        with(self, mode, &mut buffer[..elems]);
        self.slots[value.index()].gradient = buffer;
    }

    fn write_scratch(&mut self, with: impl FnOnce(&mut Self, &mut [T])) {
        let mut scratch = std::mem::take(&mut self.scratch);
        with(self, &mut scratch);
        self.scratch = scratch;
    }

    fn begin(&mut self, rows: usize) {
        self.rows = rows;
        self.loss = 0.0;
        self.slots.iter_mut().for_each(|slot| slot.written = false);
        if rows > self.capacity {
            self.capacity = rows;
            for slot in &mut self.slots {
                slot.value.resize(rows * slot.width, T::ZERO);
                let gradient_elems = if slot.differentiable { rows * slot.width } else { 0 };
                slot.gradient.resize(gradient_elems, T::ZERO);
            }
        }
    }
}

/// Operations in forward order, their buffers, and what becomes ready after each on the way back.
pub(crate) struct Tape<T> {
    nodes: Vec<Box<dyn Op<T>>>,
    state: State<T>,
    /// By node: arena ranges that are final once it has run backward.
    ready: Vec<Vec<Range<usize>>>,
}

impl<T: Real> Tape<T> {
    /// # Panics
    /// If a part of `0..parameters` is written by no operation.
    pub(crate) fn new(graph: &Graph, parameters: usize, arena_elems: usize) -> Tape<T> {
        let slot = |shape: &Shape| Slot {
            width: shape.width,
            differentiable: shape.role == Role::Result,
            value: Vec::new(),
            gradient: Vec::new(),
            written: false,
        };
        let scratch = graph.operations().iter().map(|operation| match operation {
            Operation::Attention(op) => scratch_elems(op.context),
            _ => 0,
        });
        let state = State {
            slots: graph.values().iter().map(slot).collect(),
            rows: 0,
            capacity: 0,
            scratch: vec![T::ZERO; scratch.max().unwrap_or(0)],
            loss: 0.0,
            matmul: Matmul::F32,
        };
        let nodes = graph.operations().iter().map(node).collect();
        Tape { nodes, state, ready: graph.ready(parameters, arena_elems) }
    }

    /// Buffers for this many rows, so that the first step allocates nothing.
    pub(crate) fn reserve(&mut self, rows: usize) {
        self.state.begin(rows);
    }

    pub(crate) fn set_matmul(&mut self, matmul: Matmul) {
        self.state.matmul = matmul;
    }

    /// Runs forward. `features` fills an input where there is one. `after` is called after each operation.
    pub(crate) fn forward(
        &mut self,
        params: &[T],
        pass: &Pass<'_>,
        features: Option<(Value, &[f32])>,
        mut after: impl FnMut(),
    ) {
        self.state.begin(pass.rows);
        if let Some((input, features)) = features {
            self.state.write(input, |_, values| {
                values.iter_mut().zip(features).for_each(|(value, x)| *value = T::from_f32(*x));
            });
        }
        for node in &self.nodes {
            node.forward(params, pass, &mut self.state);
            after();
        }
    }

    /// Runs backward over the values of the last forward pass, adding to `gradient`. `after` is called after
    /// each operation with the ranges that no other one will touch.
    pub(crate) fn backward(
        &mut self,
        params: &[T],
        gradient: &mut [T],
        pass: &Pass<'_>,
        mut after: impl FnMut(&[Range<usize>], &[T]),
    ) {
        for (node, ready) in self.nodes.iter().zip(&self.ready).rev() {
            node.backward(params, gradient, pass, &mut self.state);
            after(ready, gradient);
        }
    }

    pub(crate) fn value(&self, value: Value) -> &[T] {
        self.state.value(value)
    }

    pub(crate) fn loss(&self) -> f64 {
        self.state.loss
    }
}

fn node<T: Real>(operation: &Operation) -> Box<dyn Op<T>> {
    match operation.clone() {
        Operation::Embedding(op) => Box::new(op),
        Operation::LayerNorm(op) => Box::new(op),
        Operation::Linear(op) => Box::new(op),
        Operation::Attention(op) => Box::new(op),
        Operation::Activation(op) => Box::new(op),
        Operation::Residual(op) => Box::new(op),
        Operation::Loss(op) => Box::new(op),
    }
}

#[cfg(test)]
mod gradient_check;
