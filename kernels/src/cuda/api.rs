//! The functions of the driver that hcrun calls, and no others.
//!
//! All are resolved when the driver is opened, so that none can be missing later. Results are integers: a newer
//! driver may answer with a code that this version does not know.

#![expect(unsafe_code, reason = "the driver is a C library")]

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::fmt;
use std::mem::ManuallyDrop;
use std::ptr;

use libloading::Library;

pub(super) type Status = c_int;
pub(super) type Ordinal = c_int;
/// Addresses on the device; never followed here.
pub(super) type DevicePointer = u64;

/// Handles of the driver are pointers to what only it knows.
pub(super) type Context = *mut c_void;
pub(super) type Stream = *mut c_void;
pub(super) type Module = *mut c_void;
pub(super) type Function = *mut c_void;
pub(super) type Event = *mut c_void;

macro_rules! functions {
    ($($name:ident: $symbol:literal($($argument:ty),*);)*) => {
        pub(super) struct Api {
            $(pub(super) $name: unsafe extern "C" fn($($argument),*) -> Status,)*
            /// Never closed: the driver starts threads, and code of it may run when a process ends.
            _library: ManuallyDrop<Library>,
        }

        impl Api {
            /// Takes every function out of the library, or names the first that it lacks.
            pub(super) fn resolve(library: Library) -> Result<Api, &'static str> {
                // SAFETY: each name has this signature in every driver since CUDA 12.0 (cuda.h); the suffixes
                // `_v2` are part of the names, so that a changed signature has another one. The pointers
                // outlive no library: it is never closed.
                unsafe {
                    Ok(Api {
                        $($name: *library.get($symbol).map_err(|_| $symbol)?,)*
                        _library: ManuallyDrop::new(library),
                    })
                }
            }
        }
    };
}

functions! {
    init: "cuInit"(c_uint);
    error_name: "cuGetErrorName"(Status, *mut *const c_char);
    error_text: "cuGetErrorString"(Status, *mut *const c_char);
    device_count: "cuDeviceGetCount"(*mut c_int);
    device: "cuDeviceGet"(*mut Ordinal, c_int);
    device_name: "cuDeviceGetName"(*mut c_char, c_int, Ordinal);
    device_memory: "cuDeviceTotalMem_v2"(*mut usize, Ordinal);
    device_attribute: "cuDeviceGetAttribute"(*mut c_int, c_int, Ordinal);
    context_retain: "cuDevicePrimaryCtxRetain"(*mut Context, Ordinal);
    context_release: "cuDevicePrimaryCtxRelease_v2"(Ordinal);
    context_set: "cuCtxSetCurrent"(Context);
    stream_create: "cuStreamCreate"(*mut Stream, c_uint);
    stream_synchronize: "cuStreamSynchronize"(Stream);
    stream_query: "cuStreamQuery"(Stream);
    stream_wait: "cuStreamWaitEvent"(Stream, Event, c_uint);
    stream_destroy: "cuStreamDestroy_v2"(Stream);
    allocate: "cuMemAlloc_v2"(*mut DevicePointer, usize);
    free: "cuMemFree_v2"(DevicePointer);
    allocate_host: "cuMemHostAlloc"(*mut *mut c_void, usize, c_uint);
    free_host: "cuMemFreeHost"(*mut c_void);
    copy_to_device: "cuMemcpyHtoDAsync_v2"(DevicePointer, *const c_void, usize, Stream);
    copy_to_host: "cuMemcpyDtoHAsync_v2"(*mut c_void, DevicePointer, usize, Stream);
    copy: "cuMemcpyDtoDAsync_v2"(DevicePointer, DevicePointer, usize, Stream);
    module_load: "cuModuleLoadData"(*mut Module, *const c_void);
    module_function: "cuModuleGetFunction"(*mut Function, Module, *const c_char);
    module_unload: "cuModuleUnload"(Module);
    function_set: "cuFuncSetAttribute"(Function, c_int, c_int);
    launch: "cuLaunchKernel"(
        Function, c_uint, c_uint, c_uint, c_uint, c_uint, c_uint, c_uint, Stream, *mut *mut c_void, *mut *mut c_void
    );
    event_create: "cuEventCreate"(*mut Event, c_uint);
    event_record: "cuEventRecord"(Event, Stream);
    event_synchronize: "cuEventSynchronize"(Event);
    event_elapsed: "cuEventElapsedTime"(*mut f32, Event, Event);
    event_destroy: "cuEventDestroy_v2"(Event);
    // Not called here: NVRTC 12.9 opens the driver itself, and dies of a null pointer if this is missing.
    _export_table: "cuGetExportTable"(*mut *const c_void, *const c_void);
}

impl Api {
    pub(super) fn check(&self, call: &'static str, status: Status) -> Result<(), CudaError> {
        if status == SUCCESS { Ok(()) } else { Err(self.error(call, status)) }
    }

    fn error(&self, call: &'static str, code: Status) -> CudaError {
        CudaError {
            call,
            code,
            name: self.words(self.error_name, code),
            text: self.words(self.error_text, code),
        }
    }

    fn words(&self, of: unsafe extern "C" fn(Status, *mut *const c_char) -> Status, code: Status) -> String {
        let mut words = ptr::null();
        // SAFETY: the driver writes a pointer to a constant string, or null for a code it does not know.
        unsafe {
            if of(code, &mut words) != SUCCESS || words.is_null() {
                return "unknown".to_owned();
            }
            CStr::from_ptr(words).to_string_lossy().into_owned()
        }
    }
}

/// What the driver answered, with its own words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CudaError {
    pub call: &'static str,
    pub code: i32,
    pub name: String,
    pub text: String,
}

impl fmt::Display for CudaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} answered {} ({}): {}", self.call, self.code, self.name, self.text)
    }
}

impl std::error::Error for CudaError {}

pub(super) const SUCCESS: Status = 0;
pub(super) const OUT_OF_MEMORY: Status = 2;
pub(super) const STUB_LIBRARY: Status = 34;
pub(super) const NO_DEVICE: Status = 100;
pub(super) const INVALID_IMAGE: Status = 200;
pub(super) const NO_BINARY_FOR_GPU: Status = 209;
pub(super) const UNSUPPORTED_PTX_VERSION: Status = 222;
pub(super) const NOT_READY: Status = 600;

// Of `CUdevice_attribute`, `CUfunction_attribute`, `CUstream_flags` and `CUevent_flags`.
pub(super) const CAPABILITY_MAJOR: c_int = 75;
pub(super) const CAPABILITY_MINOR: c_int = 76;
pub(super) const MAX_DYNAMIC_SHARED_BYTES: c_int = 8;
pub(super) const STREAM_NON_BLOCKING: c_uint = 1;
pub(super) const EVENT_WITHOUT_TIME: c_uint = 2;
