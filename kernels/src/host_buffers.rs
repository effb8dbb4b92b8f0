//! The levels of a round in host memory, for every element type, operation and codec.
//!
//! All levels lie in one vector, which the trait [`Buffers`] says why it may; out of place, level 0 is
//! read from a second one that stays as it came.
//!
//! Results have the same bits on every CPU: each element depends on the operands alone, in their order, and a
//! NaN that arithmetic forms is the quiet one without sign. The types of 16 bits are widened to f32 over all
//! operands of one reduction and rounded once, to nearest.

mod element;
mod feedback;
mod levels;
mod loops;
mod operation;
mod packing;
mod pieces;
mod reduction;
#[cfg(test)]
mod tests;

use std::ops::Range;

pub use half::{bf16, f16};
use hcrun_protocol::buffers::{BufferError, Buffers, Operand, Words};
use hcrun_protocol::dtype::{DType, Packing, ReduceOp};
use hcrun_protocol::schedule::Level;

pub use self::element::Element;
pub use self::feedback::Feedback;
use self::levels::{AnyLevels, Levels, for_any};
pub(crate) use self::pieces::Position;
pub(crate) use self::reduction::check;
use self::reduction::{BLOCK_ELEMS, Reduction};
pub use crate::wire::Rounding;

/// Buffers of any element type; rounds of all types share one group.
#[derive(Debug, Clone)]
pub struct HostBuffers {
    levels: AnyLevels,
    op: ReduceOp,
    rounding: Rounding,
    feedback: Option<Feedback>,
    /// Of the operands of one reduction; kept for the next.
    positions: Vec<Position>,
}

/// What is left of buffers after a round.
#[derive(Debug, Clone)]
pub struct Parts<T> {
    pub result: Vec<T>,
    /// As it came; out of place only.
    pub input: Option<Vec<T>>,
    /// For the next round of the same tensor.
    pub feedback: Option<Feedback>,
}

impl HostBuffers {
    /// The result takes the place of the rank's own values. Operands are summed: see [`Self::op`].
    pub fn new<T: Element>(own: Vec<T>) -> HostBuffers {
        HostBuffers::with(Levels::in_place(own))
    }

    /// `input` stays as it is; what `output` holds does not matter.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn out_of_place<T: Element>(input: Vec<T>, output: Vec<T>) -> HostBuffers {
        assert_eq!(input.len(), output.len(), "input and output have one length");
        HostBuffers::with(Levels::out_of_place(input, output))
    }

    fn with<T: Element>(levels: Levels<T>) -> HostBuffers {
        HostBuffers {
            levels: T::wrap(levels),
            op: ReduceOp::default(),
            rounding: Rounding::default(),
            feedback: None,
            positions: Vec::new(),
        }
    }

    /// How operands are combined.
    ///
    /// # Panics
    /// For an average of integers: [`ReduceOp::takes`].
    pub fn op(self, op: ReduceOp) -> HostBuffers {
        assert!(op.takes(self.dtype()), "{op:?} is not defined for {:?}", self.dtype());
        HostBuffers { op, ..self }
    }

    /// How lossy codecs round.
    pub fn rounding(self, rounding: Rounding) -> HostBuffers {
        HostBuffers { rounding, ..self }
    }

    /// Makes up for what lossy codecs lose. Sums and averages only: other operations do not use it, as what
    /// a maximum loses cannot be added to the next one.
    pub fn feedback(self, feedback: Feedback) -> HostBuffers {
        HostBuffers { feedback: Some(feedback), ..self }
    }

    /// The result; none for another element type.
    pub fn into_vec<T: Element>(self) -> Option<Vec<T>> {
        Some(self.into_parts()?.result)
    }

    /// None for another element type.
    pub fn into_parts<T: Element>(self) -> Option<Parts<T>> {
        let Levels { input, output, .. } = T::unwrap(self.levels)?;
        Some(Parts { result: output, input, feedback: self.feedback })
    }
}

impl Words for HostBuffers {
    fn from_words(words: Vec<u64>, op: ReduceOp) -> HostBuffers {
        HostBuffers::new(words).op(op)
    }

    fn into_words(self) -> Option<Vec<u64>> {
        self.into_vec()
    }
}

impl Buffers for HostBuffers {
    fn elems(&self) -> usize {
        for_any!(&self.levels, levels => levels.elems())
    }

    fn dtype(&self) -> DType {
        for_any!(&self.levels, levels => dtype_of(levels))
    }

    fn op(&self) -> ReduceOp {
        self.op
    }

    /// Call it once a round for each phase and range: with feedback, a repetition would send what the first
    /// call has lost.
    ///
    /// # Panics
    /// If the range lies outside the buffer, or a lossy codec is asked for other elements than f32.
    fn encode(
        &mut self,
        level: Level,
        range: Range<usize>,
        packing: Packing,
        out: &mut Vec<u8>,
    ) -> Result<(), BufferError> {
        debug_assert!(range.start.is_multiple_of(packing.codec.block_elems()), "{range:?} cuts a block");
        if !packing.codec.is_lossy() {
            for_any!(&self.levels, levels => copy(levels.own(level, range), out));
            return Ok(());
        }
        let AnyLevels::F32(levels) = &mut self.levels else {
            panic!("{:?} cannot be packed as `{}`", self.dtype(), packing.codec);
        };
        let elems = levels.elems();
        let adds = matches!(self.op, ReduceOp::Sum | ReduceOp::Average);
        let feedback = self.feedback.as_mut().filter(|_| adds);
        let residual = feedback.map(|feedback| feedback.residual(packing.phase, elems));
        packing::pack(levels, level, range, (packing, self.rounding), residual, out);
        Ok(())
    }

    fn reduce(
        &mut self,
        into: Level,
        range: Range<usize>,
        operands: &[Operand<'_>],
        divisor: Option<usize>,
    ) -> Result<(), BufferError> {
        check(self.dtype(), self.elems(), &range, operands)?;
        debug_assert!(!operands.is_empty(), "something is stored");
        debug_assert!(divisor.is_none() || self.op == ReduceOp::Average, "only averages are divided");
        self.positions.clear();
        self.positions.resize(operands.len(), Position::default());
        let reduction = Reduction { range: range.clone(), operands, divisor, positions: &mut self.positions };
        for_any!(&mut self.levels, levels => {
            reduction.run(self.op, levels);
            levels.mark_written(into, range);
        });
        Ok(())
    }
}

fn dtype_of<T: Element>(_levels: &Levels<T>) -> DType {
    T::DTYPE
}

/// Appends little-endian bytes.
fn copy<T: Element>(values: &[T], out: &mut Vec<u8>) {
    if cfg!(target_endian = "little") {
        return out.extend_from_slice(T::bytes_of(values));
    }
    out.reserve(size_of_val(values));
    for block in values.chunks(BLOCK_ELEMS) {
        loops::to_words(block, T::words_mut(append(out, size_of_val(block))));
    }
}

/// Room for so many more bytes; a block at a time, so that they are still in the first cache when they are
/// filled.
fn append(out: &mut Vec<u8>, bytes: usize) -> &mut [u8] {
    let start = out.len();
    out.resize(start + bytes, 0);
    &mut out[start..]
}
