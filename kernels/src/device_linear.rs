//! Products of linear layers on a device: by its library where it has one that takes the shape, else by our kernels.
//!
//! Here alone that is chosen. Weights are `[outputs, inputs]`; rows of `y` and `dy` are `pitch` elements apart, all
//! others are dense.

use crate::device::{Address, Device, DeviceError, Factor, Lies, Out, Product};
use crate::launch;

/// `y [rows, outputs] = x [rows, inputs] · weightᵀ + bias`.
#[derive(Debug, Clone, Copy)]
pub struct Forward {
    pub rows: u64,
    pub inputs: u64,
    pub outputs: u64,
    pub pitch: u64,
    pub x: Address<u16>,
    pub weight: Address<u16>,
    /// Null for none.
    pub bias: Address<f32>,
    /// The nearest bf16 to each of `bias`: libraries add no other type to a result in bf16.
    pub narrow_bias: Address<u16>,
    /// Written.
    pub y: Address<u16>,
}

/// `dx [rows, inputs] = dy [rows, outputs] · weight`, stored or added.
#[derive(Debug, Clone, Copy)]
pub struct Backward {
    pub rows: u64,
    pub inputs: u64,
    pub outputs: u64,
    pub pitch: u64,
    pub add: bool,
    pub dy: Address<u16>,
    pub weight: Address<u16>,
    /// Written; read too with `add`.
    pub dx: Address<u16>,
}

/// `gradient [outputs, inputs] += dyᵀ · x`.
#[derive(Debug, Clone, Copy)]
pub struct WeightGradient {
    pub rows: u64,
    pub inputs: u64,
    pub outputs: u64,
    pub pitch: u64,
    pub dy: Address<u16>,
    pub x: Address<u16>,
    /// Read and written.
    pub gradient: Address<f32>,
}

impl Forward {
    /// # Errors
    /// As [`launch::Linear::launch`], or if the library fails.
    pub fn start(&self, device: &dyn Device) -> Result<(), DeviceError> {
        let Forward { rows, inputs, outputs, pitch, x, weight, bias, narrow_bias, y } = *self;
        let product = Product {
            rows,
            columns: outputs,
            depth: inputs,
            left: Factor { at: x, lies: Lies::Along, pitch: inputs },
            right: Factor { at: weight, lies: Lies::Along, pitch: inputs },
            out: Out::Values {
                at: y,
                pitch,
                bias: if bias.value() == 0 { Address::NULL } else { narrow_bias },
                add: false,
            },
        };
        if by_library(device, &product)? {
            return Ok(());
        }
        let n = tiles(rows, outputs);
        launch::Linear { n, rows, inputs, outputs, pitch, x, weight, bias, y }.launch(device)
    }
}

impl Backward {
    /// # Errors
    /// As [`Forward::start`].
    pub fn start(&self, device: &dyn Device) -> Result<(), DeviceError> {
        let Backward { rows, inputs, outputs, pitch, add, dy, weight, dx } = *self;
        let product = Product {
            rows,
            columns: inputs,
            depth: outputs,
            left: Factor { at: dy, lies: Lies::Along, pitch },
            right: Factor { at: weight, lies: Lies::Across, pitch: inputs },
            out: Out::Values { at: dx, pitch: inputs, bias: Address::NULL, add },
        };
        if by_library(device, &product)? {
            return Ok(());
        }
        let (n, add) = (tiles(rows, inputs), u32::from(add));
        launch::LinearBackward { n, rows, inputs, outputs, pitch, add, dy, weight, dx }.launch(device)
    }
}

impl WeightGradient {
    /// # Errors
    /// As [`Forward::start`].
    pub fn start(&self, device: &dyn Device) -> Result<(), DeviceError> {
        let WeightGradient { rows, inputs, outputs, pitch, dy, x, gradient } = *self;
        let product = Product {
            rows: outputs,
            columns: inputs,
            depth: rows,
            left: Factor { at: dy, lies: Lies::Across, pitch },
            right: Factor { at: x, lies: Lies::Across, pitch: inputs },
            out: Out::Gradient { at: gradient, pitch: inputs },
        };
        if by_library(device, &product)? {
            return Ok(());
        }
        let n = tiles(outputs, inputs);
        launch::LinearWeight { n, rows, inputs, outputs, pitch, dy, x, gradient }.launch(device)
    }
}

/// Whether a library has taken it. Those that compute nothing are left to kernels.
fn by_library(device: &dyn Device, product: &Product) -> Result<bool, DeviceError> {
    let is_empty = [product.rows, product.columns, product.depth].contains(&0);
    match device.products() {
        Some(products) if !is_empty => products.start(product),
        _ => Ok(false),
    }
}

/// Of a result of our kernels.
fn tiles(rows: u64, columns: u64) -> u64 {
    rows.div_ceil(TILE) * columns.div_ceil(TILE)
}

/// Rows and columns of a tile: that of `kernels/cuda/linear.cu`.
const TILE: u64 = 128;
