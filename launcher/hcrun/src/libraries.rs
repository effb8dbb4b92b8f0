//! What NVIDIA's libraries say of themselves.

use hcrun_kernels::{cublaslt, nccl};
use serde::{Deserialize, Serialize};

/// A line of JSON, as the process writes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Answer {
    Found {
        version: String,
        file: String,
    },
    /// `is_usual` where nothing is wrong: a machine without it.
    Unavailable {
        code: String,
        reason: String,
        is_usual: bool,
    },
}

/// Of the process that is asked (see [`crate::probe`]): loading NCCL may not return.
pub(crate) fn nccl() -> Answer {
    match nccl::find() {
        Ok(nccl) => {
            Answer::Found { version: nccl.version().to_string(), file: nccl.file().display().to_string() }
        }
        Err(reason) => Answer::Unavailable {
            code: reason.code().into(),
            reason: reason.to_string(),
            is_usual: reason.is_usual(),
        },
    }
}

/// Of the process that is asked, as [`nccl`].
pub(crate) fn cublaslt() -> Answer {
    match cublaslt::find() {
        Ok(cublaslt) => Answer::Found {
            version: cublaslt.version().to_string(),
            file: cublaslt.file().display().to_string(),
        },
        Err(reason) => Answer::Unavailable {
            code: reason.code().into(),
            reason: reason.to_string(),
            is_usual: reason.is_usual(),
        },
    }
}
