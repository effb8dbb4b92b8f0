//! Matrix products for which a device has a library.

use super::{Address, DeviceError};

/// Starts products by a library of the device's vendor, in the order of all that is launched.
pub trait Products {
    /// Starts it, or answers false: the library has no way to compute it, and nothing was started.
    ///
    /// # Errors
    /// If the library failed while it started it.
    fn start(&self, product: &Product) -> Result<bool, DeviceError>;
}

/// `out [rows, columns]`: sums of `depth` products each, in f32, of bf16 factors. Nothing has no elements.
#[derive(Debug, Clone, Copy)]
pub struct Product {
    pub rows: u64,
    pub columns: u64,
    pub depth: u64,
    /// Of each row.
    pub left: Factor,
    /// Of each column.
    pub right: Factor,
    pub out: Out,
}

#[derive(Debug, Clone, Copy)]
pub struct Factor {
    pub at: Address<u16>,
    pub lies: Lies,
    /// Elements between the starts of what lies contiguous.
    pub pitch: u64,
}

/// How a factor lies in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lies {
    /// Contiguous along the sum: `[rows, depth]`, and for a right factor `[columns, depth]`.
    Along,
    /// Contiguous across it: `[depth, rows]` or `[depth, columns]`.
    Across,
}

#[derive(Debug, Clone, Copy)]
pub enum Out {
    /// Rounded to bf16 once, at the end.
    Values {
        at: Address<u16>,
        pitch: u64,
        /// Added to each row; null for none.
        bias: Address<u16>,
        /// To what is there.
        add: bool,
    },
    /// Added to what is there.
    Gradient { at: Address<f32>, pitch: u64 },
}
