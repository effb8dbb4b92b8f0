//! What cuBLASLt answered, and why a product is left to our kernels.

#![expect(unsafe_code, reason = "cuBLASLt is a C library")]

use std::ffi::{CStr, c_char};
use std::fmt;

use super::api::{Api, Status};

/// An answer that is no success, with the library's own words. A newer one may answer with a code that has no name here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CublasLtError {
    pub call: &'static str,
    pub code: i32,
    pub name: String,
    pub text: String,
}

impl CublasLtError {
    pub(super) fn new(api: &Api, call: &'static str, status: Status) -> CublasLtError {
        // SAFETY: both answer a constant string, or null; neither needs a handle.
        let (name, text) = unsafe { (words((api.status_name)(status)), words((api.status_text)(status))) };
        CublasLtError { call, code: status.0, name, text }
    }

    /// Whether the library has no way to do it: then nothing was done.
    pub(super) fn is_not_supported(&self) -> bool {
        self.code == Status::NOT_SUPPORTED.0
    }
}

impl fmt::Display for CublasLtError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} answered {} ({}): {}", self.call, self.code, self.name, self.text)
    }
}

impl std::error::Error for CublasLtError {}

/// Why products of a shape are computed by our kernels.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error(transparent)]
    Answer(#[from] CublasLtError),
    /// It has answered that there is no error, and no algorithm.
    #[error("cublasLtMatmulAlgoGetHeuristic knows no algorithm")]
    NoAlgorithm,
    #[error("rows that are {pitch} elements apart are too far apart")]
    Pitch { pitch: u64 },
}

/// # Safety
/// Null, or a string that ends with zero and lives through the call.
unsafe fn words(text: *const c_char) -> String {
    if text.is_null() {
        return "unknown".to_owned();
    }
    // SAFETY: the caller's.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}
