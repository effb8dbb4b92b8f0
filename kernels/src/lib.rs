//! Operations on flat buffers, computed on the CPU.
//!
//! Every function here works on slices that its caller owns and allocates nothing. Two families, with
//! different promises:
//!
//! - [`update`], [`update_bf16`], [`reduce`], [`mod@clip`], [`digest`], [`wire`], [`top_k`], [`privacy`] and
//!   [`host_buffers`] give the same bits on every CPU: they use only + - × ÷ √ in an order that is a function of
//!   the element index, so that all ranks and all shard counts agree. Which NaN an update
//!   forms is open; in payloads and reductions all NaN are one.
//! - Everything else belongs to a worker's own forward and backward. Matrix products, and attention with them,
//!   have bits that depend on the CPU (blocks follow its caches and SIMD width); they are tested with a
//!   tolerance. The other loops happen to have the same bits on every x86-64, but no caller may rely on it.

mod simd;

pub mod any_buffers;
pub mod attention;
pub mod clip;
pub mod cross_entropy;
pub mod cublaslt;
pub mod cuda;
pub mod cuda_sources;
pub mod device;
pub mod device_attention;
pub mod device_buffers;
pub mod device_linear;
pub mod digest;
pub mod elementwise;
pub mod embedding;
pub mod float_environment;
pub mod gelu;
pub mod host_buffers;
pub mod launch;
pub mod layer_norm;
mod libraries;
pub mod matmul;
pub mod mean_squared_error;
pub mod memory;
pub mod nccl;
pub mod privacy;
mod real;
pub mod reduce;
pub mod step_block;
pub mod top_k;
pub mod update;
pub mod update_bf16;
pub mod wire;

pub use real::Real;
