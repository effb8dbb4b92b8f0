//! A stream beside those of [`super::CudaDevice`], for a library that queues work of its own.

#![expect(unsafe_code, reason = "the driver is a C library")]

use std::error::Error;
use std::ptr;
use std::sync::Arc;
use std::time::Duration;

use super::api::{Api, Context, CudaError, Event, NOT_READY, Ordinal, STREAM_NON_BLOCKING, Stream};
use super::probe::Driver;
use crate::nccl::DeviceStream;

/// In the primary context of a card, where buffers of its [`super::CudaDevice`] lie too. It does not wait for the device's
/// work: synchronize that before something here reads what it writes.
pub struct CudaStream(Arc<Session>);

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
        let mut session = Session { api, ordinal, context, stream: ptr::null_mut() };
        session.set_context()?;
        // SAFETY: writes one handle; the context is current.
        let status = unsafe { (session.api.stream_create)(&mut session.stream, STREAM_NON_BLOCKING) };
        session.api.check("cuStreamCreate", status)?;
        Ok(CudaStream(Arc::new(session)))
    }

    /// # Errors
    /// If the driver has no events.
    pub fn timer(&self) -> Result<StreamTimer, CudaError> {
        let session = &self.0;
        session.set_context()?;
        let mut timer = StreamTimer { session: Arc::clone(session), events: [ptr::null_mut(); 2] };
        for event in &mut timer.events {
            // SAFETY: writes one handle; the context is current.
            let status = unsafe { (session.api.event_create)(event, 0) };
            session.api.check("cuEventCreate", status)?;
        }
        Ok(timer)
    }
}

impl DeviceStream for CudaStream {
    fn enter(&mut self) -> Result<(), Box<dyn Error + Send + Sync>> {
        Ok(self.0.set_context()?)
    }

    fn handle(&self) -> u64 {
        self.0.stream.expose_provenance() as u64
    }

    fn is_done(&mut self) -> Result<bool, Box<dyn Error + Send + Sync>> {
        // SAFETY: the stream exists.
        match unsafe { (self.0.api.stream_query)(self.0.stream) } {
            NOT_READY => Ok(false),
            status => Ok(self.0.api.check("cuStreamQuery", status).map(|()| true)?),
        }
    }
}

/// How long the card takes for what is queued between two calls, from whatever thread. It never waits.
pub struct StreamTimer {
    session: Arc<Session>,
    /// Null until they are made.
    events: [Event; 2],
}

// SAFETY: as of the session; the driver locks its events.
unsafe impl Send for StreamTimer {}
// SAFETY: as above.
unsafe impl Sync for StreamTimer {}

impl StreamTimer {
    /// # Errors
    /// If the card has failed.
    pub fn start(&self) -> Result<(), CudaError> {
        self.record(0)
    }

    /// # Errors
    /// If the card has failed.
    pub fn stop(&self) -> Result<(), CudaError> {
        self.record(1)
    }

    fn record(&self, event: usize) -> Result<(), CudaError> {
        let Session { api, stream, .. } = &*self.session;
        self.session.set_context()?;
        // SAFETY: event and stream exist, in one context.
        api.check("cuEventRecord", unsafe { (api.event_record)(self.events[event], *stream) })
    }

    /// # Errors
    /// If what was queued up to the stop has not ended.
    pub fn elapsed(&self) -> Result<Duration, CudaError> {
        let api = &self.session.api;
        self.session.set_context()?;
        let mut milliseconds = 0.0f32;
        // SAFETY: writes one float; both events exist.
        let status = unsafe { (api.event_elapsed)(&mut milliseconds, self.events[0], self.events[1]) };
        api.check("cuEventElapsedTime", status)?;
        Ok(Duration::try_from_secs_f64(f64::from(milliseconds) / 1e3).unwrap_or_default())
    }
}

impl Drop for StreamTimer {
    fn drop(&mut self) {
        if self.session.set_context().is_ok() {
            for event in self.events.into_iter().filter(|event| !event.is_null()) {
                // SAFETY: made once, destroyed once.
                unsafe { (self.session.api.event_destroy)(event) };
            }
        }
    }
}

/// A stream in a context.
struct Session {
    api: Arc<Api>,
    ordinal: Ordinal,
    context: Context,
    /// Null until it is made.
    stream: Stream,
}

// SAFETY: the driver takes its handles from any thread and locks them; each call is made with the context current.
unsafe impl Send for Session {}
// SAFETY: as above.
unsafe impl Sync for Session {}

impl Session {
    fn set_context(&self) -> Result<(), CudaError> {
        // SAFETY: the context is retained as long as `self`.
        self.api.check("cuCtxSetCurrent", unsafe { (self.api.context_set)(self.context) })
    }
}

impl Drop for Session {
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
