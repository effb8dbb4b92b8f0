//! One call of `reduce`: block by block over all operands, so that totals stay in the first cache.

use std::ops::Range;

use hcrun_protocol::buffers::{BufferError, Operand};
use hcrun_protocol::dtype::{Codec, DType, ReduceOp};
use hcrun_protocol::schedule::Level;

use super::element::Element;
use super::levels::Levels;
use super::loops;
use super::operation::{Maximum, Minimum, Operation, Product, Sum};
use super::pieces::{Position, STAGE_BYTES};

/// A multiple of every codec's block. Totals, payload, own values and output of a block of f32 fill half
/// of a first cache of 32 KiB.
pub(super) const BLOCK_ELEMS: usize = 1024;

/// Whether a reduction can be carried out.
pub(crate) fn check(
    dtype: DType,
    elems: usize,
    range: &Range<usize>,
    operands: &[Operand<'_>],
) -> Result<(), BufferError> {
    let Range { start, end } = *range;
    if start > end || end > elems {
        return Err(BufferError::Range { start, end, elems });
    }
    let elems = range.len();
    for operand in operands {
        let Operand::Received { codec, pieces } = *operand else { continue };
        let got = pieces.iter().fold(0, |sum: usize, piece| sum.saturating_add(piece.len()));
        let packable = !codec.is_lossy() || dtype == DType::F32;
        if !packable || got != codec.payload_bytes(dtype, elems) {
            return Err(BufferError::Length { got, elems, dtype, codec });
        }
        debug_assert!(start.is_multiple_of(codec.block_elems()), "{range:?} begins within a block");
    }
    Ok(())
}

/// The operands are checked.
pub(super) struct Reduction<'a> {
    pub(super) range: Range<usize>,
    pub(super) operands: &'a [Operand<'a>],
    pub(super) divisor: Option<usize>,
    /// One an operand, all at the start.
    pub(super) positions: &'a mut [Position],
}

impl Reduction<'_> {
    pub(super) fn run<T: Element>(self, op: ReduceOp, levels: &mut Levels<T>) {
        match op {
            ReduceOp::Sum | ReduceOp::Average => self.run_as(Sum, levels),
            ReduceOp::Product => self.run_as(Product, levels),
            ReduceOp::Min => self.run_as(Minimum, levels),
            ReduceOp::Max => self.run_as(Maximum, levels),
        }
    }

    fn run_as<T: Element, O: Operation>(self, op: O, levels: &mut Levels<T>) {
        use Operand::{Own, Received};
        match *self.operands {
            [Own(level)] if self.divisor.is_none() => {
                levels.moved(level, self.range);
            }
            [Received { codec, pieces }] if self.divisor.is_none() => self.store(codec, pieces, levels),
            // Which of two operands is first makes no difference.
            [Received { codec, pieces }, Own(level)] | [Own(level), Received { codec, pieces }] => {
                match codec == Codec::None {
                    true => self.merge(op, level, pieces, levels),
                    false => self.merge_unpacked(op, level, (codec, pieces), levels),
                }
            }
            _ => self.fold(op, levels),
        }
    }

    fn store<T: Element>(&self, codec: Codec, pieces: &[&[u8]], levels: &mut Levels<T>) {
        if codec == Codec::None {
            return self.for_words::<T>(pieces, |block, words| {
                loops::from_words(words, &mut levels.output[block]);
            });
        }
        let mut stage = [0; STAGE_BYTES];
        let mut position = Position::default();
        for block in blocks(self.range.clone()) {
            let bytes = codec.payload_bytes(T::DTYPE, block.len());
            let payload = position.take(pieces, bytes, &mut stage);
            T::unpack(codec, payload, &mut levels.output[block]);
        }
    }

    fn merge<T: Element, O: Operation>(&self, op: O, level: Level, pieces: &[&[u8]], levels: &mut Levels<T>) {
        self.for_words::<T>(pieces, |block, words| {
            loops::merge_words(op, words, self.divisor, levels.moved(level, block));
        });
    }

    fn merge_unpacked<T: Element, O: Operation>(
        &self,
        op: O,
        level: Level,
        (codec, pieces): (Codec, &[&[u8]]),
        levels: &mut Levels<T>,
    ) {
        let mut stage = [0; STAGE_BYTES];
        let mut position = Position::default();
        let mut unpacked = [T::default(); BLOCK_ELEMS];
        for block in blocks(self.range.clone()) {
            let payload = position.take(pieces, codec.payload_bytes(T::DTYPE, block.len()), &mut stage);
            let unpacked = &mut unpacked[..block.len()];
            T::unpack(codec, payload, unpacked);
            loops::merge(op, unpacked, self.divisor, levels.moved(level, block));
        }
    }

    /// The elements of an unpacked payload from where they lie: only those that are cut are copied.
    fn for_words<T: Element>(&self, pieces: &[&[u8]], mut each: impl FnMut(Range<usize>, &[T::Word])) {
        let mut stage = [0; STAGE_BYTES];
        let mut position = Position::default();
        let Range { mut start, end } = self.range;
        while start < end {
            let most = BLOCK_ELEMS.min(end - start);
            let words = T::words(position.take_some(pieces, (T::DTYPE.bytes(), most), &mut stage));
            let block = start..start + words.len();
            start = block.end;
            each(block, words);
        }
    }

    fn fold<T: Element, O: Operation>(self, op: O, levels: &mut Levels<T>) {
        let mut stage = [0; STAGE_BYTES];
        let mut totals = [T::Wide::default(); BLOCK_ELEMS];
        let mut unpacked = [T::default(); BLOCK_ELEMS];
        for block in blocks(self.range.clone()) {
            let totals = &mut totals[..block.len()];
            for (index, operand) in self.operands.iter().enumerate() {
                let first = index == 0;
                let values = match *operand {
                    Operand::Own(level) => levels.own(level, block.clone()),
                    Operand::Received { codec, pieces } => {
                        let bytes = codec.payload_bytes(T::DTYPE, block.len());
                        let payload = self.positions[index].take(pieces, bytes, &mut stage);
                        if codec == Codec::None {
                            match first {
                                true => loops::widen_words::<T>(T::words(payload), totals),
                                false => loops::fold_words::<T, O>(op, T::words(payload), totals),
                            }
                            continue;
                        }
                        let unpacked = &mut unpacked[..block.len()];
                        T::unpack(codec, payload, unpacked);
                        &*unpacked
                    }
                };
                match first {
                    true => loops::widen(values, totals),
                    false => loops::fold(op, values, totals),
                }
            }
            loops::narrow(totals, self.divisor, &mut levels.output[block]);
        }
    }
}

pub(super) fn blocks(range: Range<usize>) -> impl Iterator<Item = Range<usize>> {
    let end = range.end;
    range.step_by(BLOCK_ELEMS).map(move |start| start..end.min(start + BLOCK_ELEMS))
}
