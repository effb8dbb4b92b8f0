//! Ways forward and back of each operation: what is launched, of which memory.

use std::ops::Range;

use hcrun_kernels::attention::Shape;
use hcrun_kernels::device::{Address, Device, DeviceError};
use hcrun_kernels::device_attention::{self, DeviceAttention};
use hcrun_kernels::device_linear;
use hcrun_kernels::launch;

use super::DeviceModelError;
use super::arenas::Arenas;
use super::inputs::{Placed, PlacedTargets};
use super::values::{Values, parts};
use crate::graph::{
    Activation, Attention, Embedding, Function, LayerNorm, Linear, Loss, Operation, Residual,
};

/// Columns of a block of the kernel `column_parts`.
const BLOCK_COLUMNS: usize = 32;

/// One micro-batch, ready to be launched.
pub(super) struct Passes<'a> {
    pub(super) device: &'a dyn Device,
    pub(super) arenas: &'a Arenas,
    pub(super) values: &'a Values,
    pub(super) batch: Placed,
    /// Loss and right predictions of the step.
    pub(super) sums: Address<f64>,
    pub(super) rows: usize,
    /// Rows of one sequence; 1 for tables.
    pub(super) length: usize,
}

impl Passes<'_> {
    /// With `backward` the predictions become their gradient at the end.
    pub(super) fn forward(&self, operations: &[Operation], backward: bool) -> Result<(), DeviceModelError> {
        let mut terms = None;
        for (index, operation) in operations.iter().enumerate() {
            match operation {
                Operation::Embedding(op) => self.embedding(op)?,
                Operation::LayerNorm(op) => self.layer_norm(op, terms.take())?,
                Operation::Linear(op) => self.linear(op)?,
                Operation::Attention(op) => {
                    let (qkv, out) = (self.values.value(op.qkv), self.values.value(op.y));
                    let lse = self.values.by_product(op.lse);
                    let arrays = device_attention::Forward { qkv, out, lse };
                    self.attention(op)?.forward(self.device, arrays)?;
                }
                Operation::Activation(op) => self.activation(op)?,
                // A norm of the sum adds by itself.
                Operation::Residual(op) if norm_of(operations.get(index + 1), op) => terms = Some(op),
                Operation::Residual(op) => self.residual(op)?,
                Operation::Loss(op) => self.loss(op, backward)?,
            }
        }
        Ok(())
    }

    pub(super) fn backward(&self, operation: &Operation) -> Result<(), DeviceModelError> {
        match operation {
            Operation::Embedding(op) => self.embedding_backward(op)?,
            Operation::LayerNorm(op) => self.layer_norm_backward(op)?,
            Operation::Linear(op) => self.linear_backward(op)?,
            Operation::Attention(op) => self.attention_backward(op)?,
            Operation::Activation(op) => self.activation_backward(op)?,
            Operation::Residual(op) => self.residual_backward(op)?,
            // The way forward left the gradient.
            Operation::Loss(_) => {}
        }
        Ok(())
    }

    fn rows(&self) -> u64 {
        self.rows as u64
    }

    fn embedding(&self, op: &Embedding) -> Result<(), DeviceError> {
        launch::Embed {
            n: self.rows(),
            length: self.length as u64,
            width: op.width as u64,
            ids: self.batch.tokens.ids,
            tokens: self.arenas.parameters(&op.tokens),
            positions: self.arenas.parameters(&op.positions),
            y: self.values.value(op.y),
        }
        .launch(self.device)
    }

    fn embedding_backward(&self, op: &Embedding) -> Result<(), DeviceError> {
        let (width, dy) = (op.width as u64, self.values.gradient(op.y));
        let tokens = self.batch.tokens;
        launch::EmbedBackward {
            n: tokens.count,
            width,
            tokens: tokens.occurring,
            starts: tokens.starts,
            rows: tokens.rows,
            dy,
            gradient: self.arenas.gradient(&op.tokens),
        }
        .launch(self.device)?;
        let (n, sequences) = (self.length as u64, (self.rows / self.length) as u64);
        let gradient = self.arenas.gradient(&op.positions);
        launch::PositionsBackward { n, sequences, width, dy, gradient }.launch(self.device)
    }

    fn layer_norm(&self, op: &LayerNorm, terms: Option<&Residual>) -> Result<(), DeviceError> {
        let (x, addend, sum) = match terms {
            Some(Residual { terms: [a, b], sum }) => {
                (self.values.value(*a), self.values.value(*b), self.values.value(*sum))
            }
            None => (self.values.value(op.x), Address::NULL, Address::NULL),
        };
        launch::LayerNorm {
            n: self.rows(),
            width: op.weight.len() as u64,
            x,
            addend,
            weight: self.arenas.parameters(&op.weight),
            bias: self.arenas.parameters(&op.bias),
            sum,
            y: self.values.value(op.y),
            moments: self.values.by_product(op.moments),
        }
        .launch(self.device)
    }

    fn layer_norm_backward(&self, op: &LayerNorm) -> Result<(), DeviceError> {
        let width = op.weight.len();
        let (x, moments) = (self.values.value(op.x), self.values.by_product(op.moments));
        let dy = self.values.gradient(op.y);
        let products = self.values.column_products();
        self.column_sums(width, width as u64, dy, x, moments, products, &op.bias)?;
        self.add_parts(products, &op.weight)?;
        let Some((dx, add)) = self.values.put_gradient(op.x) else { return Ok(()) };
        launch::LayerNormBackward {
            n: self.rows(),
            width: width as u64,
            add: u32::from(add),
            x,
            weight: self.arenas.parameters(&op.weight),
            moments,
            dy,
            dx,
        }
        .launch(self.device)
    }

    /// Adds the sums of the columns of `dy` to a gradient, and leaves parts of their products with the normalised `x`,
    /// if there is one.
    #[expect(
        clippy::too_many_arguments,
        reason = "a matrix, what it is multiplied by, and where the sums go"
    )]
    fn column_sums(
        &self,
        width: usize,
        pitch: u64,
        dy: Address<u16>,
        x: Address<u16>,
        moments: Address<f32>,
        products: Address<f32>,
        to: &Range<usize>,
    ) -> Result<(), DeviceError> {
        let sums = self.values.column_sums();
        let n = (parts(self.rows) * width.div_ceil(BLOCK_COLUMNS)) as u64;
        let (rows, width) = (self.rows(), width as u64);
        launch::ColumnParts { n, rows, width, pitch, dy, x, moments, sums, products }.launch(self.device)?;
        self.add_parts(sums, to)
    }

    fn add_parts(&self, sums: Address<f32>, to: &Range<usize>) -> Result<(), DeviceError> {
        let (n, parts) = (to.len() as u64, parts(self.rows) as u64);
        launch::AddParts { n, parts, sums, gradient: self.arenas.gradient(to) }.launch(self.device)
    }

    fn linear(&self, op: &Linear) -> Result<(), DeviceError> {
        device_linear::Forward {
            rows: self.rows(),
            inputs: op.inputs as u64,
            outputs: op.outputs as u64,
            pitch: self.values.pitch(op.y),
            x: self.values.value(op.x),
            weight: self.arenas.narrow(&op.weight),
            bias: op.bias.as_ref().map_or(Address::NULL, |bias| self.arenas.parameters(bias)),
            narrow_bias: op.bias.as_ref().map_or(Address::NULL, |bias| self.arenas.narrow(bias)),
            y: self.values.value(op.y),
        }
        .start(self.device)
    }

    fn linear_backward(&self, op: &Linear) -> Result<(), DeviceError> {
        let (dy, pitch) = (self.values.gradient(op.y), self.values.pitch(op.y));
        if let Some(bias) = &op.bias {
            self.column_sums(op.outputs, pitch, dy, Address::NULL, Address::NULL, Address::NULL, bias)?;
        }
        let (rows, inputs, outputs) = (self.rows(), op.inputs as u64, op.outputs as u64);
        device_linear::WeightGradient {
            rows,
            inputs,
            outputs,
            pitch,
            dy,
            x: self.values.value(op.x),
            gradient: self.arenas.gradient(&op.weight),
        }
        .start(self.device)?;
        let Some((dx, add)) = self.values.put_gradient(op.x) else { return Ok(()) };
        let weight = self.arenas.narrow(&op.weight);
        device_linear::Backward { rows, inputs, outputs, pitch, add, dy, weight, dx }.start(self.device)
    }

    fn attention(&self, op: &Attention) -> Result<DeviceAttention, DeviceModelError> {
        let sequences = self.rows / self.length;
        let shape = Shape { sequences, length: self.length, heads: op.heads, head_width: op.head_width };
        Ok(DeviceAttention::new(shape)?)
    }

    fn attention_backward(&self, op: &Attention) -> Result<(), DeviceModelError> {
        let dout = self.values.gradient(op.y);
        let Some((dqkv, add)) = self.values.put_gradient(op.qkv) else { return Ok(()) };
        assert!(!add, "attention is the only use of qkv");
        let arrays = device_attention::Backward {
            qkv: self.values.value(op.qkv),
            out: self.values.value(op.y),
            lse: self.values.by_product(op.lse),
            dout,
            delta: self.values.delta(),
            dqkv,
        };
        Ok(self.attention(op)?.backward(self.device, arrays)?)
    }

    fn activation(&self, op: &Activation) -> Result<(), DeviceError> {
        let (n, x) = (self.elems_of(op), self.values.value(op.x));
        let y = self.values.value(op.y);
        match op.function {
            Function::Gelu => launch::Gelu { n, x, y }.launch(self.device),
            Function::Relu => launch::Relu { n, x, y }.launch(self.device),
        }
    }

    fn activation_backward(&self, op: &Activation) -> Result<(), DeviceError> {
        let dy = self.values.gradient(op.y);
        let Some((dx, add)) = self.values.put_gradient(op.x) else { return Ok(()) };
        let (n, x, add) = (self.elems_of(op), self.values.value(op.x), u32::from(add));
        match op.function {
            Function::Gelu => launch::GeluBackward { n, add, x, dy, dx }.launch(self.device),
            Function::Relu => launch::ReluBackward { n, add, x, dy, dx }.launch(self.device),
        }
    }

    fn elems_of(&self, op: &Activation) -> u64 {
        self.rows() * self.values.pitch(op.x)
    }

    fn residual(&self, op: &Residual) -> Result<(), DeviceError> {
        let [a, b] = op.terms.map(|term| self.values.value(term));
        let n = self.rows() * self.values.pitch(op.sum);
        launch::SumOf { n, a, b, y: self.values.value(op.sum) }.launch(self.device)
    }

    fn residual_backward(&self, op: &Residual) -> Result<(), DeviceError> {
        let x = self.values.gradient(op.sum);
        let n = self.rows() * self.values.pitch(op.sum);
        for term in op.terms {
            if let Some((y, add)) = self.values.put_gradient(term) {
                launch::Put { n, add: u32::from(add), x, y }.launch(self.device)?;
            }
        }
        Ok(())
    }

    fn loss(&self, op: &Loss, backward: bool) -> Result<(), DeviceError> {
        let (n, outputs, backward) = (self.rows(), op.outputs as u64, u32::from(backward));
        let (values, losses) = (self.values, self.values.losses());
        let right = match self.batch.targets {
            PlacedTargets::None => return Ok(()),
            PlacedTargets::Classes(classes) => {
                let (pitch, logits) = (values.pitch(op.predictions), values.value(op.predictions));
                let right = values.right();
                launch::CrossEntropy { n, outputs, pitch, backward, classes, logits, losses, right }
                    .launch(self.device)?;
                right
            }
            PlacedTargets::Values(targets) => {
                let predictions = values.value(op.predictions);
                launch::SquaredError { n, outputs, backward, targets, predictions, losses }
                    .launch(self.device)?;
                Address::NULL
            }
        };
        launch::AddLosses { n, losses, right, sums: self.sums }.launch(self.device)
    }
}

/// Whether the operation normalises this sum.
fn norm_of(operation: Option<&Operation>, residual: &Residual) -> bool {
    matches!(operation, Some(Operation::LayerNorm(norm)) if norm.x == residual.sum)
}
