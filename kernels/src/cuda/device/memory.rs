//! What gives memory back to the driver.

#![expect(unsafe_code, reason = "the driver is a C library")]

use std::ops::Range;
use std::sync::Arc;

use super::Session;
use crate::cuda::api::DevicePointer;
use crate::device::{HostMemory, Metered};

/// Memory of the card.
pub(super) struct Allocation {
    pub(super) session: Arc<Session>,
    pub(super) address: DevicePointer,
    pub(super) _metered: Metered,
}

impl Drop for Allocation {
    fn drop(&mut self) {
        if self.session.set_context().is_ok() {
            // SAFETY: allocated once, freed once; the driver waits for what uses it.
            unsafe { (self.session.api.free)(self.address) };
        }
    }
}

/// Memory of the host that the card reaches by itself.
pub(super) struct Pinned {
    pub(super) session: Arc<Session>,
    pub(super) memory: *mut u8,
    pub(super) bytes: usize,
    pub(super) _metered: Metered,
}

// SAFETY: nobody else has its memory, and the driver gives it back on any thread.
unsafe impl Send for Pinned {}

impl HostMemory for Pinned {
    fn bytes(&self) -> usize {
        self.bytes
    }

    fn range(&self, range: Range<usize>) -> &[u8] {
        assert!(range.start <= range.end && range.end <= self.bytes, "{range:?} of {} bytes", self.bytes);
        // SAFETY: inside the allocation, which the driver gave with bytes in it; `HostBuffer` gives out no part that a copy is using.
        unsafe { std::slice::from_raw_parts(self.memory.add(range.start), range.len()) }
    }

    fn range_mut(&mut self, range: Range<usize>) -> &mut [u8] {
        assert!(range.start <= range.end && range.end <= self.bytes, "{range:?} of {} bytes", self.bytes);
        // SAFETY: as in `range`, and `self` is borrowed alone.
        unsafe { std::slice::from_raw_parts_mut(self.memory.add(range.start), range.len()) }
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        if self.session.set_context().is_ok() {
            // SAFETY: allocated once, freed once, after both streams have come to their end.
            unsafe {
                (self.session.api.stream_synchronize)(self.session.stream);
                (self.session.api.stream_synchronize)(self.session.copies);
                (self.session.api.free_host)(self.memory.cast());
            }
        }
    }
}
