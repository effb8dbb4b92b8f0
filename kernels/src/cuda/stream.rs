//! A stream beside those of [`super::CudaDevice`], for a library that queues work of its own.

#![expect(unsafe_code, reason = "the driver is a C library")]

use std::error::Error;
use std::ptr;
use std::sync::Arc;

use super::api::{Api, Context, CudaError, NOT_READY, Ordinal, STREAM_NON_BLOCKING, Stream};
use super::probe::Driver;
use crate::nccl::DeviceStream;

/// In the primary context of a card, where buffers of its [`super::CudaDevice`] lie too. It does not wait for the device's
/// work: synchronize that before something here reads what it writes.
pub struct CudaStream {
    api: Arc<Api>,
    ordinal: Ordinal,
    context: Context,
    /// Null until it is made.
    stream: Stream,
}

// SAFETY: the driver takes its handles from any thread; each call is made with the context current.
unsafe impl Send for CudaStream {}

impl CudaStream {
    /// # Errors
    /// If there is no GPU of this index, or it does not answer.
    pub fn open(driver: &Driver, index: u32) -> Result<CudaStream, CudaError> {
        let (api, ordinal) = (Arc::clone(driver.api()), driver.card(index)?.ordinal);
        let mut context = ptr::null_mut();
        // SAFETY: writes one handle; the ordinal is the driver's.
        let status = unsafe { (api.context_retain)(&mut context, ordinal) };
        api.check("cuDevicePrimaryCtxRetain", status)?;
        // From here on, dropping it releases the context.
        let mut stream = CudaStream { api, ordinal, context, stream: ptr::null_mut() };
        stream.set_context()?;
        // SAFETY: writes one handle; the context is current.
        let status = unsafe { (stream.api.stream_create)(&mut stream.stream, STREAM_NON_BLOCKING) };
        stream.api.check("cuStreamCreate", status)?;
        Ok(stream)
    }

    fn set_context(&self) -> Result<(), CudaError> {
        // SAFETY: the context is retained as long as `self`.
        self.api.check("cuCtxSetCurrent", unsafe { (self.api.context_set)(self.context) })
    }
}

impl DeviceStream for CudaStream {
    fn enter(&mut self) -> Result<(), Box<dyn Error + Send + Sync>> {
        Ok(self.set_context()?)
    }

    fn handle(&self) -> u64 {
        self.stream.expose_provenance() as u64
    }

    fn is_done(&mut self) -> Result<bool, Box<dyn Error + Send + Sync>> {
        // SAFETY: the stream exists.
        match unsafe { (self.api.stream_query)(self.stream) } {
            NOT_READY => Ok(false),
            status => Ok(self.api.check("cuStreamQuery", status).map(|()| true)?),
        }
    }
}

impl Drop for CudaStream {
    fn drop(&mut self) {
        // SAFETY: made once, destroyed once; the driver keeps what still runs until it ends. Errors cannot be acted on.
        unsafe {
            if !self.stream.is_null() && self.set_context().is_ok() {
                (self.api.stream_destroy)(self.stream);
            }
            (self.api.context_release)(self.ordinal);
        }
    }
}
