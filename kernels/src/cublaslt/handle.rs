//! A handle of cuBLASLt, for one stream.

#![expect(unsafe_code, reason = "cuBLASLt is a C library")]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ptr;

use super::api::Opaque;
use super::error::{CublasLtError, Refused};
use super::find::CublasLt;
use super::prepared::{Prepared, Shape};
use crate::device::Product;

/// Memory that algorithms may use while they run: what NVIDIA recommends for Hopper, and more than it does for others.
pub(crate) const WORKSPACE_BYTES: usize = 32 << 20;

/// Shapes that are kept. A job has a few of each size of micro-batch; when they are more, all are made anew.
const MAX_SHAPES: usize = 1024;

pub(crate) struct Handle {
    cublaslt: CublasLt,
    raw: Opaque,
    stream: Opaque,
    workspace: u64,
    shapes: RefCell<BTreeMap<Shape, Result<Prepared, Refused>>>,
}

// SAFETY: cuBLASLt takes its handles from any thread, one at a time; each call is made with the context current.
unsafe impl Send for Handle {}

impl Handle {
    /// # Safety
    /// Whenever it is used, and when it is dropped, the context of `stream` must be the thread's, and `stream` and
    /// [`WORKSPACE_BYTES`] bytes at `workspace` must exist, which nothing else uses.
    ///
    /// # Errors
    /// If the library does not start on this GPU.
    pub(crate) unsafe fn new(
        cublaslt: CublasLt,
        stream: Opaque,
        workspace: u64,
    ) -> Result<Handle, CublasLtError> {
        let mut raw = ptr::null_mut();
        // SAFETY: writes one handle.
        let status = unsafe { (cublaslt.api().create)(&mut raw) };
        cublaslt.api().check("cublasLtCreate", status)?;
        Ok(Handle { cublaslt, raw, stream, workspace, shapes: RefCell::default() })
    }

    pub(crate) fn cublaslt(&self) -> &CublasLt {
        &self.cublaslt
    }

    /// Queues a product, or answers false where the library has no way for its shape.
    ///
    /// # Errors
    /// If it fails otherwise.
    pub(crate) fn start(&self, product: &Product) -> Result<bool, CublasLtError> {
        let (api, shape) = (self.cublaslt.api(), Shape::of(product));
        let mut shapes = self.shapes.borrow_mut();
        if shapes.len() >= MAX_SHAPES && !shapes.contains_key(&shape) {
            shapes.clear();
        }
        let prepared = shapes.entry(shape).or_insert_with(|| Prepared::new(api, self.raw, &shape, product));
        let Ok(ready) = prepared else { return Ok(false) };
        match ready.start(api, self.raw, product, self.workspace, self.stream) {
            Err(error) if error.is_not_supported() => {
                *prepared = Err(error.into());
                Ok(false)
            }
            result => result.map(|()| true),
        }
    }

    /// Shapes that it was asked for and has no way to compute, with the reasons.
    pub(crate) fn refused(&self) -> Vec<(Shape, Refused)> {
        let shapes = self.shapes.borrow();
        shapes
            .iter()
            .filter_map(|(shape, prepared)| Some((*shape, prepared.as_ref().err()?.clone())))
            .collect()
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shapes.borrow_mut().clear();
        // SAFETY: made once, destroyed once; errors cannot be acted on.
        unsafe { (self.cublaslt.api().destroy)(self.raw) };
    }
}
