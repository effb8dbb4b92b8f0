//! A model as data: operations over values `[rows, width]`, in forward order.
//!
//! A model is a function that pushes operations; shapes are checked as they are pushed. What runs them (the CPU's
//! [`crate::tape`], or a device) has a way forward and a way back for each. Rows follow from the batch. On the way
//! back the first operation that contributes to the gradient of a value stores it, later ones add; gradients of
//! parameters are always added.

use std::ops::Range;

/// A value: an index of its own, so that it cannot stand for another count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Value(usize);

impl Value {
    pub(crate) fn index(self) -> usize {
        self.0
    }
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) width: usize,
    pub(crate) role: Role,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Filled from the batch.
    Input,
    /// Of an operation, which computes its gradient on the way back.
    Result,
    /// Kept by the way forward for the way back.
    ByProduct,
}

/// Ranges are those of the arena.
#[derive(Debug, Clone)]
pub(crate) enum Operation {
    Embedding(Embedding),
    LayerNorm(LayerNorm),
    Linear(Linear),
    Attention(Attention),
    Activation(Activation),
    Residual(Residual),
    Loss(Loss),
}

/// Token embedding plus learned positions.
#[derive(Debug, Clone)]
pub(crate) struct Embedding {
    pub(crate) y: Value,
    pub(crate) width: usize,
    pub(crate) tokens: Range<usize>,
    pub(crate) positions: Range<usize>,
}

/// Layer normalisation with scale and shift.
#[derive(Debug, Clone)]
pub(crate) struct LayerNorm {
    pub(crate) x: Value,
    pub(crate) y: Value,
    /// Mean and reciprocal standard deviation of each row.
    pub(crate) moments: Value,
    pub(crate) weight: Range<usize>,
    pub(crate) bias: Range<usize>,
}

/// `y = x · weightᵀ + bias`, with PyTorch's weight `[outputs, inputs]`.
#[derive(Debug, Clone)]
pub(crate) struct Linear {
    pub(crate) x: Value,
    pub(crate) y: Value,
    pub(crate) inputs: usize,
    pub(crate) outputs: usize,
    pub(crate) weight: Range<usize>,
    pub(crate) bias: Option<Range<usize>>,
}

/// Causal self-attention between the projections; the only use of `qkv [rows, 3, heads, head width]`.
#[derive(Debug, Clone)]
pub(crate) struct Attention {
    pub(crate) qkv: Value,
    pub(crate) y: Value,
    /// Logsumexp of each row's scores: `[sequences, heads, length]`.
    pub(crate) lse: Value,
    pub(crate) heads: usize,
    pub(crate) head_width: usize,
    /// Sequences are at most as long.
    pub(crate) context: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Function {
    /// By tanh, as in GPT-2.
    Gelu,
    Relu,
}

/// A function of single elements.
#[derive(Debug, Clone)]
pub(crate) struct Activation {
    pub(crate) function: Function,
    pub(crate) x: Value,
    pub(crate) y: Value,
}

#[derive(Debug, Clone)]
pub(crate) struct Residual {
    pub(crate) terms: [Value; 2],
    pub(crate) sum: Value,
}

/// Summed loss of the batch, by the kind of its targets; the only use of the predictions.
#[derive(Debug, Clone)]
pub(crate) struct Loss {
    pub(crate) predictions: Value,
    pub(crate) outputs: usize,
    /// Logsumexp of each row.
    pub(crate) lse: Value,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Graph {
    values: Vec<Shape>,
    operations: Vec<Operation>,
}

impl Graph {
    pub(crate) fn values(&self) -> &[Shape] {
        &self.values
    }

    pub(crate) fn operations(&self) -> &[Operation] {
        &self.operations
    }

    pub(crate) fn width(&self, value: Value) -> usize {
        self.values[value.0].width
    }

    /// A value filled from the batch.
    pub(crate) fn input(&mut self, width: usize) -> Value {
        self.value(width, Role::Input)
    }

    fn result(&mut self, width: usize) -> Value {
        self.value(width, Role::Result)
    }

    /// A by-product of the way forward, kept for the way back.
    fn saved(&mut self, width: usize) -> Value {
        self.value(width, Role::ByProduct)
    }

    fn value(&mut self, width: usize, role: Role) -> Value {
        self.values.push(Shape { width, role });
        Value(self.values.len() - 1)
    }

    /// # Panics
    /// If `positions` does not follow `tokens` in the arena.
    pub(crate) fn embedding(&mut self, width: usize, tokens: Range<usize>, positions: Range<usize>) -> Value {
        assert_eq!(tokens.end, positions.start, "token and position embeddings lie next to each other");
        let y = self.result(width);
        self.operations.push(Operation::Embedding(Embedding { y, width, tokens, positions }));
        y
    }

    /// # Panics
    /// If the shapes do not fit, or `bias` does not follow `weight` in the arena.
    pub(crate) fn layer_norm(&mut self, x: Value, weight: Range<usize>, bias: Range<usize>) -> Value {
        let width = self.width(x);
        assert!(weight.len() == width && bias.len() == width, "scale and shift of a norm over {width}");
        assert_eq!(weight.end, bias.start, "scale and shift lie next to each other");
        let (y, moments) = (self.result(width), self.saved(2));
        self.operations.push(Operation::LayerNorm(LayerNorm { x, y, moments, weight, bias }));
        y
    }

    /// # Panics
    /// If the shapes do not fit.
    pub(crate) fn linear(
        &mut self,
        x: Value,
        outputs: usize,
        weight: Range<usize>,
        bias: Option<Range<usize>>,
    ) -> Value {
        let inputs = self.width(x);
        assert_eq!(weight.len(), inputs * outputs, "weight of a linear layer {inputs} to {outputs}");
        assert!(bias.as_ref().is_none_or(|bias| bias.len() == outputs), "bias of {outputs} outputs");
        let y = self.result(outputs);
        self.operations.push(Operation::Linear(Linear { x, y, inputs, outputs, weight, bias }));
        y
    }

    /// `qkv [rows, 3, heads, head width]`; sequences are at most `context` long.
    ///
    /// # Panics
    /// If the width is no multiple of three times the heads.
    pub(crate) fn attention(&mut self, qkv: Value, heads: usize, context: usize) -> Value {
        let width = self.width(qkv) / 3;
        assert!(self.width(qkv) == 3 * width && width.is_multiple_of(heads), "{heads} heads");
        let (y, lse) = (self.result(width), self.saved(heads));
        let head_width = width / heads;
        self.operations.push(Operation::Attention(Attention { qkv, y, lse, heads, head_width, context }));
        y
    }

    pub(crate) fn gelu(&mut self, x: Value) -> Value {
        self.activation(Function::Gelu, x)
    }

    pub(crate) fn relu(&mut self, x: Value) -> Value {
        self.activation(Function::Relu, x)
    }

    fn activation(&mut self, function: Function, x: Value) -> Value {
        let y = self.result(self.width(x));
        self.operations.push(Operation::Activation(Activation { function, x, y }));
        y
    }

    /// # Panics
    /// If the widths differ.
    pub(crate) fn add(&mut self, a: Value, b: Value) -> Value {
        assert_eq!(self.width(a), self.width(b), "widths of the terms of a sum");
        let sum = self.result(self.width(a));
        self.operations.push(Operation::Residual(Residual { terms: [a, b], sum }));
        sum
    }

    pub(crate) fn loss_of(&mut self, predictions: Value) {
        let (outputs, lse) = (self.width(predictions), self.saved(1));
        self.operations.push(Operation::Loss(Loss { predictions, outputs, lse }));
    }

    /// By operation: ranges of the arena that no earlier operation writes to, so that they are final once it has
    /// run backward. The last one to run also has what lies behind the parameters.
    ///
    /// # Panics
    /// If a part of `0..parameters` is written by no operation.
    pub(crate) fn ready(&self, parameters: usize, arena_elems: usize) -> Vec<Vec<Range<usize>>> {
        let mut written: Vec<Range<usize>> = Vec::new();
        let mut ready = Vec::with_capacity(self.operations.len());
        for operation in &self.operations {
            let mut ranges = operation.writes();
            // Backward runs from the end, so the first operation to write is the last to finish.
            ranges.retain(|range| !range.is_empty() && !written.contains(range));
            written.extend(ranges.iter().cloned());
            ready.push(ranges);
        }
        if let Some(ranges) = ready.iter_mut().rev().find(|ranges| !ranges.is_empty()) {
            ranges.push(parameters..arena_elems);
        }
        ready.iter_mut().for_each(merge);
        let mut all: Vec<Range<usize>> = ready.concat();
        merge(&mut all);
        assert!(all.len() == 1 && all[0] == (0..arena_elems), "operations do not cover the arena: {all:?}");
        ready
    }
}

impl Operation {
    /// Values that it reads, to whose gradients its way back contributes.
    pub(crate) fn inputs(&self) -> Vec<Value> {
        match self {
            Operation::Embedding(_) => Vec::new(),
            Operation::LayerNorm(op) => vec![op.x],
            Operation::Linear(op) => vec![op.x],
            Operation::Attention(op) => vec![op.qkv],
            Operation::Activation(op) => vec![op.x],
            Operation::Residual(op) => op.terms.to_vec(),
            Operation::Loss(op) => vec![op.predictions],
        }
    }

    /// The value whose gradient its way back reads.
    pub(crate) fn output(&self) -> Option<Value> {
        match self {
            Operation::Embedding(op) => Some(op.y),
            Operation::LayerNorm(op) => Some(op.y),
            Operation::Linear(op) => Some(op.y),
            Operation::Attention(op) => Some(op.y),
            Operation::Activation(op) => Some(op.y),
            Operation::Residual(op) => Some(op.sum),
            Operation::Loss(_) => None,
        }
    }

    /// Ranges whose gradient its way back adds to: whole segments.
    fn writes(&self) -> Vec<Range<usize>> {
        match self {
            Operation::Embedding(op) => vec![op.tokens.clone(), op.positions.clone()],
            Operation::LayerNorm(op) => vec![op.weight.clone(), op.bias.clone()],
            Operation::Linear(op) => [op.weight.clone()].into_iter().chain(op.bias.clone()).collect(),
            Operation::Attention(_)
            | Operation::Activation(_)
            | Operation::Residual(_)
            | Operation::Loss(_) => Vec::new(),
        }
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
