//! A static list of operations with hand-written ways forward and back.
//!
//! A model is a function that pushes operations; shapes are checked as they are pushed and buffers are
//! allocated when a larger batch comes, so a step allocates nothing. Values are `[rows, width]`; rows follow
//! from the batch. On the way back the first operation that contributes to the gradient of a value stores
//! it, later ones add; gradients of parameters are always added.

mod activation;
mod attention;
mod embedding;
mod layer_norm;
mod linear;
mod loss;
mod residual;

use std::ops::Range;

use hcrun_kernels::Real;
use hcrun_kernels::matmul::Mode;
use hcrun_protocol::job::Matmul;

pub(crate) use self::activation::Activation;
pub(crate) use self::linear::Linear;

use crate::batch::Targets;

/// One operation. `forward` reads and writes values; `backward` runs after all that use its result.
pub(crate) trait Op<T: Real>: Send {
    fn forward(&self, params: &[T], pass: &Pass<'_>, state: &mut State<T>);
    fn backward(&self, params: &[T], gradient: &mut [T], pass: &Pass<'_>, state: &mut State<T>);
    /// Ranges of the arena whose gradient `backward` adds to: whole segments.
    fn writes(&self) -> Vec<Range<usize>>;
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

/// A value on the tape: an index of its own, so that it cannot stand for another count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Value(usize);

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
        let slot = &self.slots[value.0];
        &slot.value[..self.rows * slot.width]
    }

    /// Gradient of a value that is complete: all that use it have run backward.
    fn gradient(&self, value: Value) -> &[T] {
        let slot = &self.slots[value.0];
        debug_assert!(slot.written, "gradient of value {} is read before it is written", value.0);
        &slot.gradient[..self.rows * slot.width]
    }

    /// Lends a value for writing while the others can be read.
    pub(crate) fn write(&mut self, value: Value, with: impl FnOnce(&mut Self, &mut [T])) {
        let mut buffer = std::mem::take(&mut self.slots[value.0].value);
        let elems = self.rows * self.slots[value.0].width;
        with(self, &mut buffer[..elems]);
        self.slots[value.0].value = buffer;
    }

    /// Lends the gradient of a value, to store or to add as `Mode` says; not called for inputs.
    fn write_gradient(&mut self, value: Value, with: impl FnOnce(&mut Self, Mode, &mut [T])) {
        let slot = &mut self.slots[value.0];
        if !slot.differentiable {
            return;
        }
        let mode = if slot.written { Mode::Add } else { Mode::Store };
        slot.written = true;
        let mut buffer = std::mem::take(&mut slot.gradient);
        let elems = self.rows * slot.width;
        with(self, mode, &mut buffer[..elems]);
        self.slots[value.0].gradient = buffer;
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
    /// By node: arena ranges that no earlier node writes to.
    ready: Vec<Vec<Range<usize>>>,
}

impl<T: Real> Tape<T> {
    pub(crate) fn new() -> Tape<T> {
        let state = State {
            slots: Vec::new(),
            rows: 0,
            capacity: 0,
            scratch: Vec::new(),
            loss: 0.0,
            matmul: Matmul::F32,
        };
        Tape { nodes: Vec::new(), state, ready: Vec::new() }
    }

    /// A value filled from the batch.
    pub(crate) fn input(&mut self, width: usize) -> Value {
        self.slot(width, false)
    }

    fn result(&mut self, width: usize) -> Value {
        self.slot(width, true)
    }

    /// A by-product of the way forward, kept for the way back.
    fn saved(&mut self, width: usize) -> Value {
        self.slot(width, false)
    }

    fn slot(&mut self, width: usize, differentiable: bool) -> Value {
        let slot = Slot { width, differentiable, value: Vec::new(), gradient: Vec::new(), written: false };
        self.state.slots.push(slot);
        Value(self.state.slots.len() - 1)
    }

    fn width(&self, value: Value) -> usize {
        self.state.slots[value.0].width
    }

    fn reserve_scratch(&mut self, elems: usize) {
        let elems = elems.max(self.state.scratch.len());
        self.state.scratch.resize(elems, T::ZERO);
    }

    fn push(&mut self, node: impl Op<T> + 'static) {
        self.nodes.push(Box::new(node));
    }

    /// Works out what is ready when. To be called once, after the last operation.
    ///
    /// # Panics
    /// If a part of `0..parameters` is written by no operation.
    pub(crate) fn finish(mut self, parameters: usize, arena_elems: usize) -> Tape<T> {
        let mut written: Vec<Range<usize>> = Vec::new();
        for node in &self.nodes {
            let mut ranges = node.writes();
            // Backward runs from the end, so the first node to write is the last to finish.
            ranges.retain(|range| !range.is_empty() && !written.contains(range));
            written.extend(ranges.iter().cloned());
            self.ready.push(ranges);
        }
        if let Some(ranges) = self.ready.iter_mut().rev().find(|ranges| !ranges.is_empty()) {
            ranges.push(parameters..arena_elems);
        }
        self.ready.iter_mut().for_each(merge);
        let mut all: Vec<Range<usize>> = self.ready.concat();
        merge(&mut all);
        assert!(all.len() == 1 && all[0] == (0..arena_elems), "operations do not cover the arena: {all:?}");
        self
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

/// Sorts ranges and joins those that touch.
fn merge(ranges: &mut Vec<Range<usize>>) {
    ranges.sort_by_key(|range| range.start);
    let mut merged: Vec<Range<usize>> = Vec::with_capacity(ranges.len());
    for range in ranges.drain(..).filter(|range| !range.is_empty()) {
        match merged.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => merged.push(range),
        }
    }
    *ranges = merged;
}

#[cfg(test)]
mod gradient_check;
