//! What NCCL answered, and why a communicator did not do what it was asked.

#![expect(unsafe_code, reason = "NCCL is a C library")]

use std::ffi::{CStr, c_char};
use std::fmt;
use std::ptr;
use std::time::Duration;

use super::bindings::ncclResult_t;
use super::find::Nccl;
use super::operation::Unfit;

/// An answer of NCCL that is no success, with its own words. A newer NCCL may answer with a code that its header of today
/// does not name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NcclError {
    pub call: &'static str,
    pub code: u32,
    /// What `ncclGetErrorString` says of the code.
    pub text: String,
    /// What `ncclGetLastError` says: of this call, or of an earlier one. Empty if it says nothing.
    pub detail: String,
}

impl NcclError {
    pub(super) fn new(nccl: &Nccl, call: &'static str, answer: ncclResult_t) -> NcclError {
        let api = nccl.api();
        // SAFETY: both answer a string that ends with zero, or null; no communicator is needed.
        let (text, detail) =
            unsafe { (words(api.ncclGetErrorString(answer)), words(api.ncclGetLastError(ptr::null_mut()))) };
        NcclError { call, code: answer.0, text, detail: detail.trim().to_owned() }
    }
}

impl fmt::Display for NcclError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let NcclError { call, code, text, detail } = self;
        write!(f, "{call} answered {code} ({text})")?;
        if detail.is_empty() { Ok(()) } else { write!(f, ": {detail}") }
    }
}

impl std::error::Error for NcclError {}

/// # Safety
/// Null, or a string that ends with zero and lives through the call.
unsafe fn words(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: the caller's.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}

/// Which rank did not do what, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("NCCL, rank {rank} of {ranks}, {during}: {cause}")]
pub struct CommunicatorError {
    pub rank: u32,
    pub ranks: u32,
    pub during: &'static str,
    pub cause: Cause,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Cause {
    /// Nothing was asked of NCCL.
    #[error("{0}")]
    Unfit(Unfit),
    #[error("{0}")]
    Refused(NcclError),
    /// After the call had returned.
    #[error("it failed later: {0}")]
    Later(NcclError),
    #[error(
        "it has not ended within {within:?}: another rank has not come, has ended or cannot be reached; see its log"
    )]
    Late { within: Duration },
    #[error("the device failed: {0}")]
    Device(String),
    #[error("the communicator was aborted: {why}")]
    Aborted { why: String },
    /// Nothing can be done from inside.
    #[error("a call into NCCL has not returned within {within:?}: this process has to end")]
    Stuck { within: Duration },
    #[error("the thread that calls NCCL cannot be started: {0}")]
    Thread(String),
}
