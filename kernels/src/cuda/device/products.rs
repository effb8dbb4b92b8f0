//! Products of a card by cuBLASLt, on the card's own stream.

#![expect(unsafe_code, reason = "cuBLASLt is a C library")]

use std::mem;

use super::CudaDevice;
use crate::cublaslt::{CublasLt, CublasLtUnavailable, Handle, Refused, Shape, WORKSPACE_BYTES, find};
use crate::device::{Device, DeviceBuffer, DeviceError, Product, Products};

/// The workspace is given back after the handle.
pub(super) struct CublasLtOnDevice {
    handle: Handle,
    _workspace: DeviceBuffer,
}

impl CudaDevice {
    /// The library that multiplies matrices here, opened when it is first asked for; or why our kernels do.
    ///
    /// # Errors
    /// If there is none that can be used.
    pub fn cublaslt(&self) -> Result<&CublasLt, &CublasLtUnavailable> {
        self.opened().map(|opened| opened.handle.cublaslt())
    }

    /// Shapes that cuBLASLt was asked for and left to our kernels, with the reasons.
    pub fn refused_products(&self) -> Vec<(Shape, Refused)> {
        let opened = self.cublaslt.get().and_then(|opened| opened.as_ref().ok());
        opened.map(|opened| opened.handle.refused()).unwrap_or_default()
    }

    fn opened(&self) -> Result<&CublasLtOnDevice, &CublasLtUnavailable> {
        self.cublaslt.get_or_init(|| self.open_cublaslt()).as_ref()
    }

    fn open_cublaslt(&self) -> Result<CublasLtOnDevice, CublasLtUnavailable> {
        let library = find()?;
        let workspace = self
            .allocate(WORKSPACE_BYTES)
            .and_then(|workspace| self.session.bind().map(|()| workspace))
            .map_err(|error| CublasLtUnavailable::Workspace(Box::new(error)))?;
        // SAFETY: the device binds its context before each use and before it is dropped; it holds the stream, and the
        // workspace lies behind the handle.
        let handle = unsafe { Handle::new(library, self.session.stream, workspace.address()) };
        let handle = handle.map_err(|cause| CublasLtUnavailable::NotStarted {
            library: library.file().display().to_string(),
            cause,
        })?;
        Ok(CublasLtOnDevice { handle, _workspace: workspace })
    }
}

impl Products for CudaDevice {
    fn start(&self, product: &Product) -> Result<bool, DeviceError> {
        let Ok(opened) = self.opened() else { return Ok(false) };
        self.session.bind()?;
        let started = opened.handle.start(product);
        let started = started.map_err(|cause| DeviceError::Product { cause: cause.into() })?;
        if started {
            self.last.set("a product by cuBLASLt");
        }
        Ok(started)
    }
}

impl Drop for CudaDevice {
    fn drop(&mut self) {
        // Another thread may have had the context until now; without one the handle stays, as the driver is gone.
        let cublaslt = self.cublaslt.take();
        if self.session.bind().is_err() {
            mem::forget(cublaslt);
        }
    }
}
