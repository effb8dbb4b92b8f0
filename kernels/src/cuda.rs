//! Kernels on an NVIDIA GPU.
//!
//! Nothing of CUDA is linked: [`probe()`] opens the driver at run time and says in words why there is none, so that
//! one binary starts everywhere. [`Code`] turns a file of `kernels/cuda` into machine code for one architecture,
//! taken from a folder of cubins or compiled by NVRTC, which is opened at run time too. [`CudaDevice`] runs it.
//!
//! The order in which things are looked for, and what to do where they are missing: `docs/gpu.md`.

mod api;
mod architecture;
mod cache;
mod code;
mod device;
mod image;
mod leave;
mod nvrtc;
mod probe;
mod refusal;
mod resource_table;
mod resources;
mod stream;

pub use api::CudaError;
pub use architecture::Architecture;
pub use cache::{Cache, Hit};
pub use code::{Code, CodeError, Damaged, Machine, Origin, Sources};
pub use device::{CudaDevice, OpenError};
pub use image::Damage;
pub use leave::leave;
pub use nvrtc::{Nvrtc, NvrtcError, NvrtcVersion};
pub use probe::{Card, Driver, DriverVersion, Unavailable, probe};
pub use refusal::LoadError;
pub use resource_table::ResourceTable;
pub use resources::{Resources, ResourcesError, ptxas_resources};
pub use stream::{CudaStream, StreamTimer};
