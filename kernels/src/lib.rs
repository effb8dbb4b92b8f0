//! Operations on flat buffers, computed on the CPU.
//!
//! Every function here works on slices that its caller owns and allocates nothing. Two families, with
//! different promises:
//!
//! - [`update`], [`reduce`], [`digest`] and [`host_buffers`] give the same bits on every CPU: they use
//!   only + - × ÷ √ in an order that is a function of the element index, so that all ranks and all shard
//!   counts agree.
//! - Everything else (matrix products, norms, attention) belongs to a worker's own forward and backward,
//!   whose bits may depend on the CPU; it is tested with a tolerance.

mod simd;

pub mod attention;
pub mod cross_entropy;
pub mod device;
pub mod digest;
pub mod elementwise;
pub mod embedding;
pub mod float_environment;
pub mod gelu;
pub mod host_buffers;
pub mod layer_norm;
pub mod matmul;
pub mod mean_squared_error;
pub mod memory;
mod real;
pub mod reduce;
pub mod update;
mod wire;

pub use real::Real;
