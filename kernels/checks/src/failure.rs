//! Why a check failed.

use hcrun_kernels::device::DeviceError;

#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error(transparent)]
    Device(#[from] DeviceError),
    #[error("{what}: element {index} is {device}, on the CPU {cpu}")]
    Differs { what: String, index: usize, device: String, cpu: String },
    #[error("{what}: something was written beside the elements, at byte {byte}")]
    Beside { what: String, byte: usize },
    #[error("{0}")]
    Other(String),
}
