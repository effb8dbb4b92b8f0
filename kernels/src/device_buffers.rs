//! The levels of a round in the memory of a device: f32, summed or averaged, with every codec.
//!
//! All levels lie in one range of a device's buffer, which the trait [`Buffers`] says why it may. Payloads are packed
//! and added there, by the kernels that have the bits of [`HostBuffers`](crate::host_buffers::HostBuffers), and pass
//! through host memory of a fixed size, a part of a segment at a time.

mod kernels;
mod staging;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use hcrun_protocol::buffers::{BufferError, Buffers, Operand};
use hcrun_protocol::dtype::{DType, Packing, ReduceOp};
use hcrun_protocol::schedule::{Level, Phase};

pub use self::staging::{STAGING_BYTES, Staging};
use crate::device::{Address, DeviceBuffer, DeviceError};
use crate::host_buffers::check;
use crate::nccl::Span;
use crate::wire::Rounding;

/// A range of device memory that a round works on.
#[derive(Debug)]
pub struct DeviceBuffers {
    memory: Arc<DeviceBuffer>,
    range: Range<usize>,
    op: ReduceOp,
    rounding: Rounding,
    feedback: DeviceFeedback,
    staging: Arc<Mutex<Staging>>,
}

/// As [`Feedback`](crate::host_buffers::Feedback), on the device.
#[derive(Debug, Default)]
pub struct DeviceFeedback {
    /// By phase, each as long as the range.
    residuals: BTreeMap<Phase, DeviceBuffer>,
}

impl DeviceFeedback {
    pub fn bytes(&self) -> usize {
        self.residuals.values().map(DeviceBuffer::bytes).sum()
    }
}

impl DeviceBuffers {
    /// The `range` of `memory`, in f32. Its values are final: whatever writes them was waited for.
    ///
    /// # Panics
    /// If the range is not inside.
    pub fn new(
        memory: Arc<DeviceBuffer>,
        range: Range<usize>,
        staging: Arc<Mutex<Staging>>,
    ) -> DeviceBuffers {
        let bytes = memory.bytes();
        assert!(
            range.start <= range.end && range.end <= bytes / size_of::<f32>(),
            "{range:?} of {bytes} bytes"
        );
        let (op, rounding, feedback) = (ReduceOp::Sum, Rounding::default(), DeviceFeedback::default());
        DeviceBuffers { memory, range, op, rounding, feedback, staging }
    }

    /// How operands are combined.
    ///
    /// # Panics
    /// For other operations than sums and averages.
    pub fn op(self, op: ReduceOp) -> DeviceBuffers {
        assert!(matches!(op, ReduceOp::Sum | ReduceOp::Average), "{op:?} is not done on devices");
        DeviceBuffers { op, ..self }
    }

    /// How lossy codecs round.
    pub fn rounding(self, rounding: Rounding) -> DeviceBuffers {
        DeviceBuffers { rounding, ..self }
    }

    /// Makes up for what lossy codecs lost in the last round of the same range.
    pub fn feedback(self, feedback: DeviceFeedback) -> DeviceBuffers {
        DeviceBuffers { feedback, ..self }
    }

    /// For the next round of the same range.
    pub fn into_feedback(self) -> DeviceFeedback {
        self.feedback
    }

    /// What NCCL works on: the range.
    ///
    /// # Panics
    /// Never: it lies in the memory.
    pub fn span(&self) -> Span {
        Span::new(&self.memory, DType::F32, self.range.clone()).expect("a range of the memory")
    }

    /// Where element 0 of the range lies.
    fn values(&self) -> Address<f32> {
        self.memory.at(size_of::<f32>() * self.range.start)
    }

    /// Bytes from the memory's start.
    fn offset(&self, index: usize) -> usize {
        size_of::<f32>() * (self.range.start + index)
    }
}

impl Buffers for DeviceBuffers {
    fn elems(&self) -> usize {
        self.range.len()
    }

    fn dtype(&self) -> DType {
        DType::F32
    }

    fn op(&self) -> ReduceOp {
        self.op
    }

    fn encode(
        &mut self,
        _level: Level,
        range: Range<usize>,
        packing: Packing,
        out: &mut Vec<u8>,
    ) -> Result<(), BufferError> {
        debug_assert!(range.end <= self.elems(), "{range:?} of {} elements", self.elems());
        debug_assert!(range.start.is_multiple_of(packing.codec.block_elems()), "{range:?} cuts a block");
        let staging = Arc::clone(&self.staging);
        let mut staging = staging.lock().unwrap_or_else(PoisonError::into_inner);
        if !packing.codec.is_lossy() {
            return Ok(staging.read_values(&self.memory, self.offset(range.start), range.len(), out)?);
        }
        let elems = self.elems();
        let residual = match self.feedback.residuals.entry(packing.phase) {
            std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::btree_map::Entry::Vacant(entry) => entry.insert(staging.zeros(elems)?),
        };
        let residual = residual.at(0);
        Ok(staging.read_packed(self.values(), residual, range, (packing, self.rounding), out)?)
    }

    fn reduce(
        &mut self,
        _into: Level,
        range: Range<usize>,
        operands: &[Operand<'_>],
        divisor: Option<usize>,
    ) -> Result<(), BufferError> {
        check(DType::F32, self.elems(), &range, operands)?;
        debug_assert!(divisor.is_none() || self.op == ReduceOp::Average, "only averages are divided");
        if matches!(operands, [Operand::Own(_)]) && divisor.is_none() {
            return Ok(());
        }
        let mut staging = self.staging.lock().unwrap_or_else(PoisonError::into_inner);
        match operands {
            [Operand::Received { codec, pieces }] if divisor.is_none() && !codec.is_lossy() => {
                Ok(staging.write_values(&self.memory, self.offset(range.start), pieces)?)
            }
            _ => staging.reduce(self.values(), range, operands, divisor),
        }
    }
}

impl From<DeviceError> for BufferError {
    fn from(error: DeviceError) -> BufferError {
        BufferError::Memory { cause: error.to_string() }
    }
}
