//! State on a control link: how arenas are cut into frames, and how many bytes that is.
//!
//! Workers of one zone hand their owned ranges to the coordinator at a checkpoint; a resumed run sends whole
//! arenas to every worker. Where either crosses a zone border, the plan lists these bytes.

use std::ops::Range;

use crate::dtype::{Codec, DType, ReduceOp};
use crate::frame::{FrameClass, HEADER_BYTES, SegmentHeader};
use crate::ids::{Generation, JobId, Rank, Step};
use crate::schedule::{Coverage, Phase};

/// 256 KiB of f32: long enough that headers do not count, short enough to let heartbeats pass between.
pub const SEGMENT_ELEMS: usize = 64 << 10;

/// Whose state it is, after which step.
#[derive(Debug, Clone, Copy)]
pub struct Origin {
    pub job: JobId,
    pub generation: Generation,
    pub rank: Rank,
    pub step: Step,
}

impl Origin {
    /// One frame: `values` are a cut of arena `arena` that begins at element `offset`.
    pub fn segment(&self, arena: usize, offset: usize, values: &[f32]) -> (SegmentHeader, Vec<u8>) {
        let payload: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let header = SegmentHeader {
            class: FrameClass::Parameters,
            job: self.job,
            generation: self.generation,
            attempt: 0,
            source: self.rank,
            round: u32::try_from(arena).expect("a handful of arenas"),
            step: self.step,
            offset: offset as u64,
            elems: u32::try_from(values.len()).expect("at most SEGMENT_ELEMS"),
            dtype: DType::F32,
            codec: Codec::None,
            op: ReduceOp::Sum,
            phase: Phase(0),
            coverage: Coverage::Complete,
            schedule: 0,
        };
        (header, payload)
    }
}

/// The frames of one range of an arena.
pub fn cuts(range: Range<usize>) -> impl Iterator<Item = Range<usize>> {
    let end = range.end;
    range.step_by(SEGMENT_ELEMS).map(move |start| start..end.min(start + SEGMENT_ELEMS))
}

/// Frame bytes of one range of an f32 arena, headers included.
pub fn frame_bytes(elems: usize) -> u64 {
    let frames = elems.div_ceil(SEGMENT_ELEMS);
    (elems * size_of::<f32>() + frames * HEADER_BYTES) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_those_of_the_cuts() {
        for range in [0..0, 5..6, 0..SEGMENT_ELEMS, 7..SEGMENT_ELEMS + 8, 100..3 * SEGMENT_ELEMS] {
            let cut: Vec<_> = cuts(range.clone()).collect();
            let bytes: u64 = cut.iter().map(|cut| (cut.len() * 4 + 64) as u64).sum();
            assert_eq!(bytes, frame_bytes(range.len()));
            assert_eq!(cut.iter().map(Range::len).sum::<usize>(), range.len());
            assert!(cut.windows(2).all(|pair| pair[0].end == pair[1].start));
        }
    }
}
