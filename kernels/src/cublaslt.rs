//! Matrix products by NVIDIA's library, where a machine has it.
//!
//! Nothing of cuBLASLt is linked: [`find()`] opens it at run time and says in words why it cannot be used. A
//! handle belongs to one stream of one GPU. What it needs for a shape (descriptors, layouts, an algorithm) is made
//! when the shape is first met and kept, so that a step after the first asks nothing and allocates nothing.
//!
//! Matrices here are row-major, cuBLASLt's column-major: what lies as `[rows, columns]` is to it the transposed matrix.
//! So it is asked for the transposed product, whose left factor is our right one.
//!
//! The same GPU and version give the same bits: sums that are split are put together in f32 and in one order. Other
//! versions and GPUs, and the kernels of `kernels/cuda/linear.cu`, differ in the last digits. More: `docs/gpu.md`,
//! `docs/adr/0024-cublaslt-where-there-is-one.md`.

mod api;
mod error;
mod find;
mod handle;
mod prepared;

pub use error::{CublasLtError, Refused};
pub use find::{CublasLt, CublasLtUnavailable, CublasLtVersion, Refusal, find, open};
pub(crate) use handle::{Handle, WORKSPACE_BYTES};
pub use prepared::Shape;
