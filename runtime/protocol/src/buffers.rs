//! The seam between a round and memory.
//!
//! Tensors never pass through a machine: [`Round`](crate::round::Round) names levels and ranges, and whoever
//! drives it lets an implementation of [`Buffers`] do the arithmetic. Codecs, error feedback and rounding
//! live behind this seam.
//!
//! Levels of one element follow each other and are never needed at once (`Schedule::verify` proves it), so an
//! implementation may keep all of them in the same place.

use std::ops::Range;

use crate::dtype::{Codec, DType, Packing, ReduceOp};
use crate::schedule::Level;

/// Why nothing was packed or stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BufferError {
    #[error("payload of {got} bytes for {elems} elements of {dtype:?} packed as `{codec}`")]
    Length { got: usize, elems: usize, dtype: DType, codec: Codec },
    #[error("range {start}..{end} lies outside a buffer of {elems} elements")]
    Range { start: usize, end: usize, elems: usize },
    /// What holds the levels has failed, whatever came.
    #[error("the memory of the exchange failed: {cause}")]
    Memory { cause: String },
}

/// One operand of a reduction.
#[derive(Debug, Clone, Copy)]
pub enum Operand<'a> {
    /// What a level holds in the range.
    Own(Level),
    /// A payload as it came, in pieces of any length that may cut an element or a block.
    Received { codec: Codec, pieces: &'a [&'a [u8]] },
}

/// The levels of one round on one rank. Level 0 exists from the start, the others from their first store.
pub trait Buffers {
    /// Length of every level.
    fn elems(&self) -> usize;
    fn dtype(&self) -> DType;
    fn op(&self) -> ReduceOp;
    /// Appends the range of a level to `out`, as it goes on the wire. With a lossy codec the level holds
    /// afterwards what the receivers decode, and what was lost is kept for the next round (error feedback).
    ///
    /// # Errors
    /// If the memory fails.
    ///
    /// # Panics
    /// If the range lies outside the buffer: `Schedule::verify` excludes it.
    fn encode(
        &mut self,
        level: Level,
        range: Range<usize>,
        packing: Packing,
        out: &mut Vec<u8>,
    ) -> Result<(), BufferError>;
    /// Combines the operands in their order and stores the result in a level. `divisor` is what the total of
    /// an average is divided by; it is given there alone. Reads everything before it writes.
    fn reduce(
        &mut self,
        into: Level,
        range: Range<usize>,
        operands: &[Operand<'_>],
        divisor: Option<usize>,
    ) -> Result<(), BufferError>;
}

/// Buffers of whole numbers: what barriers and agreements between ranks are made of.
pub trait Words: Buffers + Sized {
    /// A buffer of u64 that is combined by `op`.
    fn from_words(words: Vec<u64>, op: ReduceOp) -> Self;
    /// None if it holds another type.
    fn into_words(self) -> Option<Vec<u64>>;
}
