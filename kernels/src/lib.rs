//! Operations on flat buffers, computed on the CPU.
//!
//! Every function here works on slices that its caller owns and allocates nothing. Two families, with
//! different promises:
//!
//! - [`update`], [`update_bf16`], [`reduce`], [`mod@clip`], [`digest`], [`wire`], [`top_k`], [`privacy`] and
//!   [`host_buffers`] give the same bits on every CPU: they use only + - × ÷ √ in an order that is a function of
//!   the element index, so that all ranks and all shard counts agree.
//! - Everything else (matrix products, norms, attention) belongs to a worker's own forward and backward,
//!   whose bits may depend on the CPU; it is tested with a tolerance.

mod simd;

pub mod attention;
pub mod clip;
pub mod cross_entropy;
pub mod cuda;
pub mod cuda_sources;
pub mod device;
pub mod digest;
pub mod elementwise;
pub mod embedding;
pub mod float_environment;
pub mod gelu;
pub mod host_buffers;
pub mod launch;
pub mod layer_norm;
pub mod matmul;
pub mod mean_squared_error;
pub mod memory;
pub mod privacy;
mod real;
pub mod reduce;
pub mod step_block;
pub mod top_k;
pub mod update;
pub mod update_bf16;
pub mod wire;

pub use real::Real;
