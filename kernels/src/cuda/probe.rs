//! Whether there is a GPU that can be used, and why not.

#![expect(unsafe_code, reason = "the driver is a C library")]

use std::ffi::{CStr, c_int, c_uint};
use std::fmt;
use std::sync::Arc;

use libloading::Library;

use super::api::{
    Api, CAPABILITY_MAJOR, CAPABILITY_MINOR, CudaError, NO_DEVICE, Ordinal, STUB_LIBRARY, SUCCESS, Status,
};
use super::architecture::Architecture;
use crate::libraries::words;

/// Opens the driver and asks it for its GPUs.
///
/// # Errors
/// If kernels cannot run on a GPU of this machine; the CPU path needs none of this.
pub fn probe() -> Result<Driver, Unavailable> {
    let library = open()?;
    let version = version(&library)?;
    if version < DriverVersion::NEEDED {
        return Err(Unavailable::OldDriver { version, needed: DriverVersion::NEEDED });
    }
    let api = Api::resolve(library).map_err(|symbol| Unavailable::MissingSymbol { symbol })?;
    // SAFETY: takes no pointer.
    match unsafe { (api.init)(0) } {
        SUCCESS => {}
        STUB_LIBRARY => return Err(Unavailable::StubDriver),
        NO_DEVICE => return Err(Unavailable::NoDevice),
        status => return Err(failed(&api, "cuInit", status)),
    }
    let mut devices = 0;
    // SAFETY: writes one int.
    let status = unsafe { (api.device_count)(&mut devices) };
    if status != SUCCESS && status != NO_DEVICE {
        return Err(failed(&api, "cuDeviceGetCount", status));
    }
    match u32::try_from(devices) {
        Ok(devices) if devices > 0 => Ok(Driver { version, devices, api: Arc::new(api) }),
        _ => Err(Unavailable::NoDevice),
    }
}

/// The driver of this machine, with at least one GPU.
#[derive(Clone)]
pub struct Driver {
    version: DriverVersion,
    devices: u32,
    api: Arc<Api>,
}

impl Driver {
    pub fn version(&self) -> DriverVersion {
        self.version
    }

    /// How many GPUs it shows; `CUDA_VISIBLE_DEVICES` hides some.
    pub fn devices(&self) -> u32 {
        self.devices
    }

    /// # Errors
    /// If there is no GPU of this index, or it does not answer.
    pub fn card(&self, index: u32) -> Result<Card, CudaError> {
        let api = &self.api;
        let (mut ordinal, mut name, mut memory_bytes) = (0, [0; 256], 0);
        let index = c_int::try_from(index).unwrap_or(c_int::MAX);
        // SAFETY: writes one int, at most 255 characters with their end, and one size.
        unsafe {
            api.check("cuDeviceGet", (api.device)(&mut ordinal, index))?;
            api.check("cuDeviceGetName", (api.device_name)(name.as_mut_ptr(), 255, ordinal))?;
            api.check("cuDeviceTotalMem", (api.device_memory)(&mut memory_bytes, ordinal))?;
        }
        // SAFETY: the last of the 256 characters is still zero.
        let name = unsafe { CStr::from_ptr(name.as_ptr()) }.to_string_lossy().into_owned();
        let (major, minor) =
            (self.attribute(ordinal, CAPABILITY_MAJOR)?, self.attribute(ordinal, CAPABILITY_MINOR)?);
        Ok(Card {
            ordinal,
            name,
            architecture: Architecture::new(major, minor),
            memory_bytes: memory_bytes as u64,
        })
    }

    fn attribute(&self, ordinal: Ordinal, attribute: c_int) -> Result<c_uint, CudaError> {
        let mut value = 0;
        // SAFETY: writes one int.
        let status = unsafe { (self.api.device_attribute)(&mut value, attribute, ordinal) };
        self.api.check("cuDeviceGetAttribute", status)?;
        Ok(value.unsigned_abs())
    }

    pub(super) fn api(&self) -> &Arc<Api> {
        &self.api
    }
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Driver({}, {} GPUs)", self.version, self.devices)
    }
}

/// One GPU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Card {
    pub(super) ordinal: Ordinal,
    pub name: String,
    pub architecture: Architecture,
    pub memory_bytes: u64,
}

/// The newest CUDA version a driver serves, as `cuDriverGetVersion` writes it: 12090 is 12.9.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct DriverVersion(u32);

impl DriverVersion {
    /// Cubins of 12.x run on every driver from 12.0 on (R525).
    pub const NEEDED: DriverVersion = DriverVersion(12_000);

    /// Major and minor version.
    pub(super) fn parts(self) -> (u32, u32) {
        (self.0 / 1_000, self.0 % 1_000 / 10)
    }

    #[cfg(test)]
    pub(super) fn of(version: u32) -> DriverVersion {
        DriverVersion(version)
    }
}

impl fmt::Display for DriverVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (major, minor) = self.parts();
        write!(f, "{major}.{minor}")
    }
}

/// Why kernels cannot run on a GPU here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    #[error(
        "no NVIDIA driver: {LIBRARY} cannot be opened ({cause}); install the driver (in a container: start it with the GPU)"
    )]
    NoDriver { cause: String },
    #[error(
        "{LIBRARY} is the stub that comes with the CUDA toolkit for linking, not a driver; take its folder `stubs` out of \
         LD_LIBRARY_PATH, or install the driver"
    )]
    StubDriver,
    #[error("the driver serves CUDA {version}, kernels need {needed}; install driver R525 or newer")]
    OldDriver { version: DriverVersion, needed: DriverVersion },
    #[error("the driver lacks {symbol}, which every driver for CUDA 12 has; install the driver anew")]
    MissingSymbol { symbol: &'static str },
    #[error(
        "the driver finds no GPU; check `nvidia-smi`, CUDA_VISIBLE_DEVICES, and that the container or job was given one"
    )]
    NoDevice,
    #[error(
        "the driver does not start: {0}; compare with `nvidia-smi`; after an update of the driver, reboot"
    )]
    Failed(CudaError),
}

impl Unavailable {
    /// One word for machines that read it.
    pub fn code(&self) -> &'static str {
        match self {
            Unavailable::NoDriver { .. } => "no-driver",
            Unavailable::StubDriver => "stub-driver",
            Unavailable::OldDriver { .. } => "old-driver",
            Unavailable::MissingSymbol { .. } => "missing-symbol",
            Unavailable::NoDevice => "no-device",
            Unavailable::Failed(_) => "driver-failed",
        }
    }
}

fn open() -> Result<Library, Unavailable> {
    // SAFETY: the driver's initialisers are those that every CUDA program runs.
    let library = unsafe { Library::new(LIBRARY) };
    library.map_err(|error| Unavailable::NoDriver { cause: words(&error) })
}

/// Before all else, since it tells an old driver from a broken one; the driver answers before `cuInit`.
fn version(library: &Library) -> Result<DriverVersion, Unavailable> {
    const SYMBOL: &str = "cuDriverGetVersion";
    let mut version: c_int = 0;
    // SAFETY: the signature of cuda.h; it writes one int.
    let status = unsafe {
        match library.get::<unsafe extern "C" fn(*mut c_int) -> Status>(SYMBOL) {
            Ok(function) => function(&mut version),
            Err(_) => return Err(Unavailable::MissingSymbol { symbol: SYMBOL }),
        }
    };
    match status {
        SUCCESS => Ok(DriverVersion(version.unsigned_abs())),
        STUB_LIBRARY => Err(Unavailable::StubDriver),
        code => Err(Unavailable::Failed(CudaError {
            call: SYMBOL,
            code,
            name: "unknown".to_owned(),
            text: "its version is not known".to_owned(),
        })),
    }
}

fn failed(api: &Api, call: &'static str, status: Status) -> Unavailable {
    api.check(call, status).err().map_or(Unavailable::NoDevice, Unavailable::Failed)
}

/// The name that drivers install; `libcuda.so`, which toolkits put beside their stub, is not asked for.
const LIBRARY: &str = "libcuda.so.1";
