//! What the ranks of a communicator do together, on ranges of device memory.
//!
//! Only what NCCL does as [`ReduceOp`] and [`DType`] promise. It ignores NaN in minima and maxima, rounds halves at
//! every rank, and scales contributions before it adds them for an average: those are refused.

use std::ops::Range;

use hcrun_protocol::dtype::{DType, ReduceOp};

use super::bindings::{ncclDataType_t, ncclRedOp_t};
use crate::device::{DeviceBuffer, DeviceError};

/// Elements of one type in device memory. As with a launch, the memory has to live until the work has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    address: u64,
    elems: usize,
    dtype: DType,
}

impl Span {
    /// The elements of `range`, counted from the start of the buffer.
    ///
    /// # Errors
    /// If it is not inside the buffer.
    pub fn new(buffer: &DeviceBuffer, dtype: DType, range: Range<usize>) -> Result<Span, DeviceError> {
        let bytes = |elems: usize| elems.saturating_mul(dtype.bytes());
        let (offset, end) = (bytes(range.start), bytes(range.end));
        if range.start > range.end || end > buffer.bytes() {
            return Err(DeviceError::Range { offset, end, len: buffer.bytes() });
        }
        Ok(Span { address: buffer.address() + offset as u64, elems: range.len(), dtype })
    }

    pub fn elems(&self) -> usize {
        self.elems
    }

    pub fn dtype(&self) -> DType {
        self.dtype
    }

    pub(super) fn address(&self) -> u64 {
        self.address
    }

    /// A part of it; none if it has no such part.
    pub fn part(&self, range: Range<usize>) -> Option<Span> {
        let fits = range.start <= range.end && range.end <= self.elems;
        let offset = (range.start * self.dtype.bytes()) as u64;
        fits.then(|| Span { address: self.address + offset, elems: range.len(), dtype: self.dtype })
    }
}

/// One collective. All ranks ask for the same ones in the same order; `from` may be where `to` is, or, for a scatter or
/// gather, where the rank's own part lies in the whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// `from` and `to` are of one length.
    AllReduce { from: Span, to: Span, op: ReduceOp },
    /// `from` has a part of `to`'s length for each rank, in their order.
    ReduceScatter { from: Span, to: Span, op: ReduceOp },
    /// `to` has a part of `from`'s length for each rank, in their order.
    AllGather { from: Span, to: Span },
    /// Only `root` gets the result.
    Reduce { from: Span, to: Span, op: ReduceOp, root: u32 },
    /// Only what `root` has counts.
    Broadcast { from: Span, to: Span, root: u32 },
}

impl Operation {
    /// Whether it can be asked of NCCL, by one of so many ranks.
    pub(super) fn check(&self, ranks: u32) -> Result<(), Unfit> {
        let (from, to) = self.spans();
        if from.dtype != to.dtype {
            return Err(Unfit::Types { from: from.dtype, to: to.dtype });
        }
        let whole = |part: usize| part.saturating_mul(usize::try_from(ranks).unwrap_or(usize::MAX));
        let (needed, found) = match self {
            Operation::ReduceScatter { .. } => (whole(to.elems), from.elems),
            Operation::AllGather { .. } => (whole(from.elems), to.elems),
            _ => (from.elems, to.elems),
        };
        if needed != found {
            return Err(Unfit::Lengths { from: from.elems, to: to.elems, ranks });
        }
        match *self {
            Operation::Reduce { root, .. } | Operation::Broadcast { root, .. } if root >= ranks => {
                return Err(Unfit::Root { root, ranks });
            }
            _ => {}
        }
        match *self {
            Operation::AllReduce { op, .. }
            | Operation::ReduceScatter { op, .. }
            | Operation::Reduce { op, .. } => reduction(op, from.dtype).map(drop),
            Operation::AllGather { .. } | Operation::Broadcast { .. } => Ok(()),
        }
    }

    fn spans(&self) -> (Span, Span) {
        match *self {
            Operation::AllReduce { from, to, .. }
            | Operation::ReduceScatter { from, to, .. }
            | Operation::AllGather { from, to }
            | Operation::Reduce { from, to, .. }
            | Operation::Broadcast { from, to, .. } => (from, to),
        }
    }
}

pub(super) fn reduction(op: ReduceOp, dtype: DType) -> Result<ncclRedOp_t, Unfit> {
    match op {
        _ if dtype.is_half() => Err(Unfit::Half { dtype }),
        ReduceOp::Sum => Ok(ncclRedOp_t::ncclSum),
        ReduceOp::Product => Ok(ncclRedOp_t::ncclProd),
        ReduceOp::Min if dtype.is_integer() => Ok(ncclRedOp_t::ncclMin),
        ReduceOp::Max if dtype.is_integer() => Ok(ncclRedOp_t::ncclMax),
        ReduceOp::Min | ReduceOp::Max => Err(Unfit::NotANumber { dtype }),
        ReduceOp::Average => Err(Unfit::Average),
    }
}

pub(super) fn data_type(dtype: DType) -> ncclDataType_t {
    match dtype {
        DType::F32 => ncclDataType_t::ncclFloat32,
        DType::F64 => ncclDataType_t::ncclFloat64,
        DType::F16 => ncclDataType_t::ncclFloat16,
        DType::Bf16 => ncclDataType_t::ncclBfloat16,
        DType::I8 => ncclDataType_t::ncclInt8,
        DType::U8 => ncclDataType_t::ncclUint8,
        DType::I32 => ncclDataType_t::ncclInt32,
        DType::U32 => ncclDataType_t::ncclUint32,
        DType::I64 => ncclDataType_t::ncclInt64,
        DType::U64 => ncclDataType_t::ncclUint64,
    }
}

/// Why an operation is not asked of NCCL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    #[error("{from:?} cannot become {to:?}")]
    Types { from: DType, to: DType },
    #[error("{from} elements do not become {to} among {ranks} ranks")]
    Lengths { from: usize, to: usize, ranks: u32 },
    #[error("there is no rank {root} among {ranks}")]
    Root { root: u32, ranks: u32 },
    #[error("NCCL rounds sums of {dtype:?} at every rank; reduce them as f32")]
    Half { dtype: DType },
    #[error("NCCL passes over NaN in minima and maxima of {dtype:?}; use integers")]
    NotANumber { dtype: DType },
    #[error("NCCL scales before it adds; take the sum and divide it once")]
    Average,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(elems: usize, dtype: DType) -> Span {
        let buffer = DeviceBuffer::new(4096, 1 << 20, Box::new(()));
        Span::new(&buffer, dtype, 0..elems).unwrap()
    }

    #[test]
    fn spans_are_inside_their_buffer() {
        let buffer = DeviceBuffer::new(4096, 40, Box::new(()));
        let span = Span::new(&buffer, DType::F32, 2..10).unwrap();
        assert_eq!((span.address(), span.elems()), (4104, 8));
        assert_eq!(span.part(3..8).map(|part| (part.address(), part.elems())), Some((4116, 5)));
        assert_eq!(span.part(3..9), None);
        assert!(matches!(
            Span::new(&buffer, DType::F32, 2..11),
            Err(DeviceError::Range { offset: 8, end: 44, len: 40 })
        ));
        assert!(Span::new(&buffer, DType::F64, 0..usize::MAX).is_err());
    }

    #[test]
    fn what_nccl_does_otherwise_than_promised_is_refused() {
        let f32s = |elems| span(elems, DType::F32);
        let scatter =
            |from, to| Operation::ReduceScatter { from: f32s(from), to: f32s(to), op: ReduceOp::Sum };
        assert_eq!(scatter(12, 4).check(3), Ok(()));
        assert_eq!(scatter(12, 5).check(3), Err(Unfit::Lengths { from: 12, to: 5, ranks: 3 }));
        assert_eq!(Operation::AllGather { from: f32s(4), to: f32s(12) }.check(3), Ok(()));
        let gather = Operation::AllGather { from: f32s(4), to: span(12, DType::I32) };
        assert_eq!(gather.check(3), Err(Unfit::Types { from: DType::F32, to: DType::I32 }));
        let broadcast = Operation::Broadcast { from: f32s(4), to: f32s(4), root: 3 };
        assert_eq!(broadcast.check(3), Err(Unfit::Root { root: 3, ranks: 3 }));
        let sum = |dtype, op| {
            let span = span(4, dtype);
            Operation::AllReduce { from: span, to: span, op }.check(3)
        };
        assert_eq!(sum(DType::I8, ReduceOp::Max), Ok(()));
        assert_eq!(sum(DType::F32, ReduceOp::Max), Err(Unfit::NotANumber { dtype: DType::F32 }));
        assert_eq!(sum(DType::Bf16, ReduceOp::Sum), Err(Unfit::Half { dtype: DType::Bf16 }));
        assert_eq!(sum(DType::F32, ReduceOp::Average), Err(Unfit::Average));
    }
}
