//! The seam between a round and memory.
//!
//! Tensors never pass through a machine: [`Round`](crate::round::Round) names levels and ranges, and whoever
//! drives it lets an implementation of [`Buffers`] do the arithmetic. Codecs belong behind this seam.

use std::ops::Range;

use crate::dtype::DType;
use crate::schedule::{Level, Write};

/// A payload that does not fit where it should go.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BufferError {
    #[error("payload of {got} bytes for {elems} elements of {dtype:?}")]
    Length { got: usize, elems: usize, dtype: DType },
    #[error("range {start}..{end} lies outside a buffer of {elems} elements")]
    Range { start: usize, end: usize, elems: usize },
}

/// The levels of one round on one rank. Level 0 exists from the start, the others from their first store.
pub trait Buffers {
    /// Length of every level.
    fn elems(&self) -> usize;
    fn dtype(&self) -> DType;
    /// Appends the range of a level to `out`, as it goes on the wire.
    ///
    /// # Panics
    /// If the range lies outside the buffer or the level was never written: `Schedule::verify` excludes both.
    fn encode(&mut self, level: Level, range: Range<usize>, out: &mut Vec<u8>);
    /// Stores or adds a received payload.
    fn receive(
        &mut self,
        level: Level,
        range: Range<usize>,
        write: Write,
        payload: &[u8],
    ) -> Result<(), BufferError>;
    /// Stores or adds a range of one level into another.
    ///
    /// # Panics
    /// As [`Self::encode`].
    fn combine(&mut self, from: Level, into: Level, range: Range<usize>, write: Write);
}
