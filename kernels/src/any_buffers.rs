//! Buffers in the memory of the host or of a device: the rounds of a worker on a GPU are of both kinds.

use std::ops::Range;

use hcrun_protocol::buffers::{BufferError, Buffers, Operand, Words};
use hcrun_protocol::dtype::{DType, Packing, ReduceOp};
use hcrun_protocol::schedule::Level;

use crate::device_buffers::DeviceBuffers;
use crate::host_buffers::HostBuffers;

#[derive(Debug)]
pub enum AnyBuffers {
    Host(HostBuffers),
    Device(DeviceBuffers),
}

impl AnyBuffers {
    /// None where they are a device's.
    pub fn into_host(self) -> Option<HostBuffers> {
        match self {
            AnyBuffers::Host(buffers) => Some(buffers),
            AnyBuffers::Device(_) => None,
        }
    }

    /// None where they are the host's.
    pub fn into_device(self) -> Option<DeviceBuffers> {
        match self {
            AnyBuffers::Host(_) => None,
            AnyBuffers::Device(buffers) => Some(buffers),
        }
    }

    fn inner(&self) -> &dyn Buffers {
        match self {
            AnyBuffers::Host(buffers) => buffers,
            AnyBuffers::Device(buffers) => buffers,
        }
    }

    fn inner_mut(&mut self) -> &mut dyn Buffers {
        match self {
            AnyBuffers::Host(buffers) => buffers,
            AnyBuffers::Device(buffers) => buffers,
        }
    }
}

impl From<HostBuffers> for AnyBuffers {
    fn from(buffers: HostBuffers) -> AnyBuffers {
        AnyBuffers::Host(buffers)
    }
}

impl From<DeviceBuffers> for AnyBuffers {
    fn from(buffers: DeviceBuffers) -> AnyBuffers {
        AnyBuffers::Device(buffers)
    }
}

impl Words for AnyBuffers {
    fn from_words(words: Vec<u64>, op: ReduceOp) -> AnyBuffers {
        HostBuffers::from_words(words, op).into()
    }

    fn into_words(self) -> Option<Vec<u64>> {
        self.into_host()?.into_words()
    }
}

impl Buffers for AnyBuffers {
    fn elems(&self) -> usize {
        self.inner().elems()
    }

    fn dtype(&self) -> DType {
        self.inner().dtype()
    }

    fn op(&self) -> ReduceOp {
        self.inner().op()
    }

    fn encode(
        &mut self,
        level: Level,
        range: Range<usize>,
        packing: Packing,
        out: &mut Vec<u8>,
    ) -> Result<(), BufferError> {
        self.inner_mut().encode(level, range, packing, out)
    }

    fn reduce(
        &mut self,
        into: Level,
        range: Range<usize>,
        operands: &[Operand<'_>],
        divisor: Option<usize>,
    ) -> Result<(), BufferError> {
        self.inner_mut().reduce(into, range, operands, divisor)
    }
}
