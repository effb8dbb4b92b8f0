//! Ranks that are threads, with device memory that is the host's.

#![allow(dead_code, clippy::unwrap_used, reason = "helpers of tests, of which each program uses a part")]

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use hcrun_kernels::device::DeviceBuffer;
use hcrun_kernels::nccl::{Communicator, CommunicatorError, DeviceStream, Nccl, Span, UniqueId, find};
use hcrun_protocol::dtype::DType;

/// More than any test takes.
pub(crate) const LONG: Duration = Duration::from_secs(60);
pub(crate) const SHORT: Duration = Duration::from_millis(50);

/// A counter of what has not ended, which the fake NCCL counts down.
#[derive(Clone, Default)]
pub(crate) struct Stream {
    pub(crate) pending: Arc<AtomicI64>,
    pub(crate) fails: Option<&'static str>,
}

impl DeviceStream for Stream {
    fn enter(&mut self) -> Result<(), Box<dyn Error + Send + Sync>> {
        Ok(())
    }

    fn handle(&self) -> u64 {
        std::ptr::from_ref(&*self.pending).expose_provenance() as u64
    }

    fn is_done(&mut self) -> Result<bool, Box<dyn Error + Send + Sync>> {
        match self.fails {
            Some(words) => Err(words.into()),
            None => Ok(self.pending.load(Ordering::Acquire) == 0),
        }
    }
}

/// Memory of the host that goes for a device's: what NCCL writes is read back through `bytes`.
pub(crate) struct Memory {
    atoms: Arc<Vec<AtomicI64>>,
    pub(crate) buffer: DeviceBuffer,
}

impl Memory {
    pub(crate) fn new(values: &[f32]) -> Memory {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let atoms = bytes.chunks(8).map(|chunk| {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            AtomicI64::new(i64::from_le_bytes(word))
        });
        let atoms: Arc<Vec<AtomicI64>> = Arc::new(atoms.collect());
        let address = atoms.as_ptr().expose_provenance() as u64;
        let buffer = DeviceBuffer::new(address, bytes.len(), Box::new(Arc::clone(&atoms)));
        Memory { atoms, buffer }
    }

    pub(crate) fn span(&self) -> Span {
        Span::new(&self.buffer, DType::F32, 0..self.buffer.bytes() / 4).unwrap()
    }

    pub(crate) fn values(&self) -> Vec<f32> {
        let words = self.atoms.iter().flat_map(|word| word.load(Ordering::Acquire).to_le_bytes());
        let bytes: Vec<u8> = words.take(self.buffer.bytes()).collect();
        bytes.chunks(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect()
    }
}

/// Runs `rank` on a thread each, and collects what they return, in order.
pub(crate) fn on_threads<T: Send>(ranks: u32, rank: impl Fn(u32) -> T + Sync) -> Vec<T> {
    std::thread::scope(|scope| {
        let rank = &rank;
        let threads: Vec<_> = (0..ranks).map(|index| scope.spawn(move || rank(index))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

pub(crate) fn fake() -> (Nccl, UniqueId) {
    let nccl = find().unwrap();
    let id = UniqueId::new(&nccl, LONG).unwrap();
    (nccl, id)
}

/// The only rank of its communicator.
pub(crate) fn alone(stream: Stream) -> Result<Communicator, CommunicatorError> {
    let (nccl, id) = fake();
    Communicator::init(&nccl, Box::new(stream), &id, 0, 1, LONG)
}
