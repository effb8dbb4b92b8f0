//! Where work of a device is queued.

use std::error::Error;

/// A stream of a device, used on the thread of one communicator alone.
pub trait DeviceStream: Send {
    /// Makes its device that of the calling thread; called once, before all else.
    ///
    /// # Errors
    /// If the device does not answer.
    fn enter(&mut self) -> Result<(), Box<dyn Error + Send + Sync>>;

    /// The driver's `CUstream`, which is the runtime's `cudaStream_t`.
    fn handle(&self) -> u64;

    /// Whether all work that was given to it has ended. Does not wait.
    ///
    /// # Errors
    /// If some of it failed.
    fn is_done(&mut self) -> Result<bool, Box<dyn Error + Send + Sync>>;
}
