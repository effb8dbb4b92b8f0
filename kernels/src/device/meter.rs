//! How much memory of a device, and of the host for its copies, is in use.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// In bytes, as they were asked for; what a library takes for itself is not in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MemoryUse {
    pub device: usize,
    /// Of the host: pinned where the device pins.
    pub host: usize,
}

impl fmt::Display for MemoryUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MEBIBYTE: f64 = 1_048_576.0;
        let (device, host) = (self.device as f64 / MEBIBYTE, self.host as f64 / MEBIBYTE);
        write!(f, "{device:.1} MiB of the GPU, {host:.1} MiB pinned")
    }
}

/// One for a device and all that work beside it.
#[derive(Debug, Clone, Default)]
pub struct Meter(Arc<[AtomicUsize; 2]>);

impl Meter {
    pub fn in_use(&self) -> MemoryUse {
        let [device, host] = &*self.0;
        MemoryUse { device: device.load(Ordering::Relaxed), host: host.load(Ordering::Relaxed) }
    }

    /// Counts memory of the device until it is dropped.
    pub fn device(&self, bytes: usize) -> Metered {
        self.count(0, bytes)
    }

    /// As [`Self::device`], of the host.
    pub fn host(&self, bytes: usize) -> Metered {
        self.count(1, bytes)
    }

    fn count(&self, kind: usize, bytes: usize) -> Metered {
        self.0[kind].fetch_add(bytes, Ordering::Relaxed);
        Metered { meter: self.clone(), kind, bytes }
    }
}

/// Lies beside what is counted.
#[derive(Debug)]
pub struct Metered {
    meter: Meter,
    kind: usize,
    bytes: usize,
}

impl Drop for Metered {
    fn drop(&mut self) {
        self.meter.0[self.kind].fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
