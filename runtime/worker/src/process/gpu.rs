//! The GPU of a worker.

use std::rc::Rc;

use hcrun_kernels::cuda::{Code, CudaDevice, OpenError, Sources, Unavailable, probe};
use hcrun_kernels::cuda_sources::{HEADER, SOURCES};
use hcrun_kernels::device::Device;

/// Why a worker has no GPU.
#[derive(Debug, thiserror::Error)]
pub enum GpuError {
    #[error(transparent)]
    Driver(#[from] Unavailable),
    #[error(transparent)]
    Open(#[from] OpenError),
}

/// # Errors
/// If there is no driver, or no such GPU.
pub(super) fn open(index: u32) -> Result<Rc<dyn Device>, GpuError> {
    let code = Code::new(Sources { files: SOURCES, headers: &[HEADER] });
    let device = CudaDevice::open(&probe()?, index, code)?;
    // Opened here, so that no step waits for it.
    let products = match device.cublaslt() {
        Ok(cublaslt) => format!("cuBLASLt {} ({})", cublaslt.version(), cublaslt.file().display()),
        Err(reason) => format!("own kernels: {reason}"),
    };
    tracing::info!(gpu = device.name(), index, products, "this worker computes on a GPU");
    Ok(Rc::new(device))
}
