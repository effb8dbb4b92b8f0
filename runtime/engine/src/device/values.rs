//! Values of a graph and their gradients, in memory of a device for a number of rows.

use std::cell::Cell;

use hcrun_kernels::device::{Address, Device, DeviceBuffer, DeviceError};

use super::sharing::Sharing;
use crate::graph::{Graph, Operation, Role, Shape, Value};

/// Rows of a part of the kernel `column_parts`.
const PART_ROWS: usize = 64;
/// Wider predictions have rows that begin where vector accesses may.
const OCT: usize = 8;

pub(super) struct Values {
    slots: Vec<Slot>,
    /// Each of several values, one after the other ([`Sharing`]).
    gradients: Vec<DeviceBuffer>,
    predictions: Value,
    rows: usize,
    /// What operations need within a call.
    scratch: Scratch,
}

struct Slot {
    /// Elements between the starts of rows.
    pitch: usize,
    value: DeviceBuffer,
    /// Which of the gradients is its own; none for what has none, and for predictions, which become theirs.
    gradient: Option<usize>,
    /// The gradient has been stored in this pass.
    written: Cell<bool>,
}

struct Scratch {
    /// Sums of parts of the columns of a gradient, and of its products.
    sums: DeviceBuffer,
    products: DeviceBuffer,
    /// Of the way back of attention: in the shape of its logsumexp.
    delta: DeviceBuffer,
    losses: DeviceBuffer,
    right: DeviceBuffer,
}

impl Values {
    pub(super) fn new(
        device: &dyn Device,
        graph: &Graph,
        predictions: Value,
        rows: usize,
    ) -> Result<Values, DeviceError> {
        let Sharing { places, widths } = Sharing::new(graph, predictions);
        let gradient = |width: &usize| device.allocate(size_of::<u16>() * rows * width);
        let gradients = widths.iter().map(gradient).collect::<Result<_, DeviceError>>()?;
        let slot = |(index, shape): (usize, &Shape)| {
            let ends = index == predictions.index();
            let pitch =
                if ends && shape.width > OCT { shape.width.next_multiple_of(OCT) } else { shape.width };
            let bytes = match shape.role {
                Role::Input | Role::Result => size_of::<u16>(),
                Role::ByProduct => size_of::<f32>(),
            };
            Ok(Slot {
                pitch,
                value: device.allocate(bytes * rows * pitch)?,
                gradient: places[index],
                written: Cell::new(false),
            })
        };
        let slots = graph.values().iter().enumerate().map(slot).collect::<Result<_, DeviceError>>()?;
        Ok(Values { slots, gradients, predictions, rows, scratch: Scratch::new(device, graph, rows)? })
    }

    /// Makes room for more rows; values are lost then.
    pub(super) fn reserve(
        &mut self,
        device: &dyn Device,
        graph: &Graph,
        rows: usize,
    ) -> Result<(), DeviceError> {
        if rows > self.rows {
            *self = Values::new(device, graph, self.predictions, rows)?;
        }
        Ok(())
    }

    pub(super) fn begin_backward(&self) {
        self.slots.iter().for_each(|slot| slot.written.set(false));
        // The loss leaves it there.
        self.slots[self.predictions.index()].written.set(true);
    }

    pub(super) fn pitch(&self, value: Value) -> u64 {
        self.slots[value.index()].pitch as u64
    }

    pub(super) fn value(&self, value: Value) -> Address<u16> {
        self.slots[value.index()].value.at(0)
    }

    pub(super) fn by_product(&self, value: Value) -> Address<f32> {
        self.slots[value.index()].value.at(0)
    }

    /// Gradient of a value that is complete: all that use it have run backward.
    pub(super) fn gradient(&self, value: Value) -> Address<u16> {
        let slot = &self.slots[value.index()];
        debug_assert!(slot.written.get(), "the gradient of {value:?} is read before it is written");
        slot.gradient.map_or(&slot.value, |place| &self.gradients[place]).at(0)
    }

    /// Where an operation puts its part of a gradient, and whether it adds; None for what has no gradient.
    pub(super) fn put_gradient(&self, value: Value) -> Option<(Address<u16>, bool)> {
        let slot = &self.slots[value.index()];
        let add = slot.written.replace(true);
        slot.gradient.map(|place| (self.gradients[place].at(0), add))
    }

    pub(super) fn column_sums(&self) -> Address<f32> {
        self.scratch.sums.at(0)
    }

    pub(super) fn column_products(&self) -> Address<f32> {
        self.scratch.products.at(0)
    }

    pub(super) fn delta(&self) -> Address<f32> {
        self.scratch.delta.at(0)
    }

    pub(super) fn losses(&self) -> Address<f32> {
        self.scratch.losses.at(0)
    }

    pub(super) fn right(&self) -> Address<u32> {
        self.scratch.right.at(0)
    }
}

impl Scratch {
    fn new(device: &dyn Device, graph: &Graph, rows: usize) -> Result<Scratch, DeviceError> {
        let widest = |width: fn(&Operation) -> usize| graph.operations().iter().map(width).max().unwrap_or(0);
        let sums = widest(|operation| match operation {
            Operation::LayerNorm(op) => op.weight.len(),
            Operation::Linear(op) if op.bias.is_some() => op.outputs,
            _ => 0,
        });
        let products = widest(|operation| match operation {
            Operation::LayerNorm(op) => op.weight.len(),
            _ => 0,
        });
        let heads = widest(|operation| match operation {
            Operation::Attention(op) => op.heads,
            _ => 0,
        });
        let words = |count: usize| device.allocate(size_of::<f32>() * count);
        let parts = parts(rows);
        Ok(Scratch {
            sums: words(parts * sums)?,
            products: words(parts * products)?,
            delta: words(rows * heads)?,
            losses: words(rows)?,
            right: words(rows)?,
        })
    }
}

/// Parts whose columns are summed apart.
pub(super) fn parts(rows: usize) -> usize {
    rows.div_ceil(PART_ROWS)
}
