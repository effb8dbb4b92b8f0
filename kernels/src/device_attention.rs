//! [`crate::attention`] on a device: picks the kernels that fit a head and gives them their tiles.
//!
//! Values are bf16, logsumexp and delta f32. Heads are padded to 32, 64 or 128 elements in the kernels' own memory.

use crate::attention::Shape;
use crate::device::{Address, Device, DeviceError};
use crate::launch;

/// Elements of the widest head that kernels take.
pub const MAX_HEAD_WIDTH: usize = 128;

/// An attention whose shape the kernels can compute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceAttention {
    sequences: u64,
    length: u64,
    heads: u64,
    head_width: u32,
}

/// Arrays of the way forward; shapes as those of [`crate::attention::attention`].
#[derive(Debug, Clone, Copy)]
pub struct Forward {
    pub qkv: Address<u16>,
    /// Written.
    pub out: Address<u16>,
    /// Written.
    pub lse: Address<f32>,
}

/// Arrays of the way back; `out` and `lse` are those that the way forward wrote.
#[derive(Debug, Clone, Copy)]
pub struct Backward {
    pub qkv: Address<u16>,
    pub out: Address<u16>,
    pub lse: Address<f32>,
    pub dout: Address<u16>,
    /// Written: scratch in the shape of `lse`.
    pub delta: Address<f32>,
    /// Written: the gradient, in the shape of `qkv`.
    pub dqkv: Address<u16>,
}

/// Launches the kernel of the narrowest padded width that holds the head.
macro_rules! by_width {
    ($head_width:ident, [$to_32:ident, $to_64:ident, $to_128:ident], { $($field:ident),* }, $device:ident) => {
        match $head_width {
            ..=32 => $to_32 { $($field),* }.launch($device),
            ..=64 => $to_64 { $($field),* }.launch($device),
            _ => $to_128 { $($field),* }.launch($device),
        }
    };
}

impl DeviceAttention {
    /// # Errors
    /// If heads are empty or too wide, or there are more elements than can be counted.
    pub fn new(shape: Shape) -> Result<DeviceAttention, AttentionError> {
        let Shape { sequences, length, heads, head_width } = shape;
        let width = Some(head_width).filter(|width| (1..=MAX_HEAD_WIDTH).contains(width));
        let width = width.and_then(|width| u32::try_from(width).ok());
        let width = width.ok_or(AttentionError::HeadWidth { head_width })?;
        let bytes = [sequences, length, heads, head_width]
            .iter()
            .try_fold(6u64, |bytes, factor| bytes.checked_mul(u64::try_from(*factor).ok()?));
        if bytes.is_none() {
            return Err(AttentionError::TooLarge { shape });
        }
        let [sequences, length, heads] = [sequences, length, heads].map(|count| count as u64);
        Ok(DeviceAttention { sequences, length, heads, head_width: width })
    }

    /// Starts the kernel; nothing is computed where there are no tokens.
    ///
    /// # Errors
    /// As [`crate::device::Kernel::start`].
    pub fn forward(&self, device: &dyn Device, arrays: Forward) -> Result<(), DeviceError> {
        use launch::{Attention32, Attention64, Attention128};
        let DeviceAttention { length, heads, head_width, .. } = *self;
        let Forward { qkv, out, lse } = arrays;
        let n = self.tiles(FORWARD_TILE);
        by_width!(
            head_width,
            [Attention32, Attention64, Attention128],
            { n, length, heads, head_width, qkv, out, lse },
            device
        )
    }

    /// Starts the three kernels: delta, then what needs it.
    ///
    /// # Errors
    /// As [`crate::device::Kernel::start`].
    pub fn backward(&self, device: &dyn Device, arrays: Backward) -> Result<(), DeviceError> {
        self.backward_delta(device, arrays)?;
        self.backward_keys(device, arrays)?;
        self.backward_queries(device, arrays)
    }

    /// The sums of `dout` times `out` that gradients need.
    ///
    /// # Errors
    /// As [`crate::device::Kernel::start`].
    pub fn backward_delta(&self, device: &dyn Device, arrays: Backward) -> Result<(), DeviceError> {
        let DeviceAttention { sequences, length, heads, head_width } = *self;
        let Backward { out, dout, delta, .. } = arrays;
        let n = sequences * length * heads;
        launch::AttentionDelta { n, length, heads, head_width, out, dout, delta }.launch(device)
    }

    /// Gradients of keys and values, once delta is there.
    ///
    /// # Errors
    /// As [`crate::device::Kernel::start`].
    pub fn backward_keys(&self, device: &dyn Device, arrays: Backward) -> Result<(), DeviceError> {
        use launch::{AttentionBackwardKeys32, AttentionBackwardKeys64, AttentionBackwardKeys128};
        let DeviceAttention { length, heads, head_width, .. } = *self;
        let Backward { qkv, lse, dout, delta, dqkv, .. } = arrays;
        let n = self.tiles(BACKWARD_TILE);
        by_width!(
            head_width,
            [AttentionBackwardKeys32, AttentionBackwardKeys64, AttentionBackwardKeys128],
            { n, length, heads, head_width, qkv, lse, delta, dout, dqkv },
            device
        )
    }

    /// Gradients of queries, once delta is there.
    ///
    /// # Errors
    /// As [`crate::device::Kernel::start`].
    pub fn backward_queries(&self, device: &dyn Device, arrays: Backward) -> Result<(), DeviceError> {
        use launch::{AttentionBackwardQueries32, AttentionBackwardQueries64, AttentionBackwardQueries128};
        let DeviceAttention { length, heads, head_width, .. } = *self;
        let Backward { qkv, lse, dout, delta, dqkv, .. } = arrays;
        let n = self.tiles(BACKWARD_TILE);
        by_width!(
            head_width,
            [AttentionBackwardQueries32, AttentionBackwardQueries64, AttentionBackwardQueries128],
            { n, length, heads, head_width, qkv, lse, delta, dout, dqkv },
            device
        )
    }

    /// Tiles of all heads: what these kernels call `n`.
    fn tiles(&self, rows: u64) -> u64 {
        self.sequences * self.heads * self.length.div_ceil(rows)
    }
}

/// Queries of a block on the way forward.
const FORWARD_TILE: u64 = 128;
/// Queries, or keys, of a block on the way back.
const BACKWARD_TILE: u64 = 64;

/// Why kernels cannot compute an attention.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AttentionError {
    #[error("heads of {head_width} elements: kernels take 1 to {MAX_HEAD_WIDTH}; change the number of heads")]
    HeadWidth { head_width: usize },
    #[error("{shape:?} has more bytes than 64 bits can count: use smaller batches")]
    TooLarge { shape: Shape },
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: Shape = Shape { sequences: 2, length: 130, heads: 3, head_width: 64 };

    #[test]
    fn heads_that_no_kernel_fits_are_refused() {
        for head_width in [0, 129, 1 << 40] {
            let refused = DeviceAttention::new(Shape { head_width, ..SHAPE });
            assert_eq!(refused, Err(AttentionError::HeadWidth { head_width }));
        }
        for head_width in [1, MAX_HEAD_WIDTH] {
            assert!(DeviceAttention::new(Shape { head_width, ..SHAPE }).is_ok(), "{head_width}");
        }
    }

    #[test]
    fn shapes_that_cannot_be_counted_are_refused() {
        let shape = Shape { sequences: usize::MAX / 2, ..SHAPE };
        assert_eq!(DeviceAttention::new(shape), Err(AttentionError::TooLarge { shape }));
    }

    #[test]
    fn a_tile_that_is_not_full_counts() {
        let attention = DeviceAttention::new(SHAPE).unwrap();
        assert_eq!(attention.tiles(FORWARD_TILE), 6 * 2);
        assert_eq!(attention.tiles(BACKWARD_TILE), 6 * 3);
    }
}
