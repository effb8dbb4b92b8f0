//! The functions of cuBLASLt that hcrun calls, and no others.
//!
//! All are resolved when the library is opened, so that none can be missing later. Enums are integers of their own
//! types: a newer library may answer with a code that this version does not know. Names, values and sizes are those of
//! `cublasLt.h` and `cublas_api.h` of 12.0, the same in 12.9 and 13.1.

#![expect(unsafe_code, reason = "cuBLASLt is a C library")]

use std::ffi::{c_char, c_int, c_void};
use std::mem::ManuallyDrop;

use libloading::Library;

use super::error::CublasLtError;

macro_rules! enums {
    ($($(#[$doc:meta])* $name:ident: $repr:ty { $($value:ident = $number:literal,)* })*) => {$(
        $(#[$doc])*
        #[repr(transparent)]
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) struct $name(pub(super) $repr);

        impl $name {
            $(pub(super) const $value: $name = $name($number);)*
        }
    )*};
}

enums! {
    /// `cublasStatus_t`.
    Status: c_int { SUCCESS = 0, NOT_SUPPORTED = 15, }
    /// `cublasComputeType_t`.
    ComputeType: c_int { F32 = 68, }
    /// `cudaDataType_t`.
    DataType: c_int { F32 = 0, BF16 = 14, }
    /// `cublasOperation_t`.
    Operation: i32 { AS_IT_LIES = 0, TRANSPOSED = 1, }
    /// `cublasLtEpilogue_t`.
    Epilogue: u32 { NONE = 1, BIAS = 4, }
    /// `cublasLtReductionScheme_t`, as a mask: parts of a sum that was split are kept in f32, in the workspace, and put
    /// together by a kernel of its own. Not allowed are 1, in place, and 4: both round each part to the result's type.
    ReductionSchemes: u32 { COMPUTE_TYPE = 2, }
    /// `cublasLtMatmulDescAttributes_t`.
    DescriptorAttribute: c_int { TRANSA = 3, TRANSB = 4, EPILOGUE = 7, BIAS_POINTER = 8, }
    /// `cublasLtMatmulPreferenceAttributes_t`.
    PreferenceAttribute: c_int {
        MAX_WORKSPACE_BYTES = 1,
        REDUCTION_SCHEME_MASK = 3,
        MIN_ALIGNMENT_A_BYTES = 5,
        MIN_ALIGNMENT_B_BYTES = 6,
        MIN_ALIGNMENT_C_BYTES = 7,
        MIN_ALIGNMENT_D_BYTES = 8,
    }
}

/// What only the library knows: `cublasLtHandle_t`, and its descriptors, layouts and preferences.
pub(super) type Opaque = *mut c_void;

/// `cublasLtMatmulAlgo_t`: copied as it is.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Algorithm {
    data: [u64; 8],
}

/// `cublasLtMatmulHeuristicResult_t`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub(super) struct HeuristicResult {
    pub(super) algorithm: Algorithm,
    pub(super) workspace_bytes: usize,
    pub(super) state: Status,
    waves: f32,
    reserved: [c_int; 4],
}

const _: () =
    assert!(size_of::<HeuristicResult>() == 96 && std::mem::offset_of!(HeuristicResult, state) == 72);

impl HeuristicResult {
    pub(super) const NONE: HeuristicResult = HeuristicResult {
        algorithm: Algorithm { data: [0; 8] },
        workspace_bytes: 0,
        state: Status::NOT_SUPPORTED,
        waves: 0.0,
        reserved: [0; 4],
    };
}

macro_rules! functions {
    ($($name:ident: $symbol:literal($($argument:ty),* $(,)?) $(-> $answer:ty)?;)*) => {
        pub(super) struct Api {
            $(pub(super) $name: unsafe extern "C" fn($($argument),*) $(-> $answer)?,)*
            /// Never closed: it may be in use by others in this process.
            _library: ManuallyDrop<Library>,
        }

        impl Api {
            /// Takes every function out of the library, or names the first that it lacks.
            pub(super) fn resolve(library: Library) -> Result<Api, &'static str> {
                // SAFETY: each name has this signature in cublasLt.h of 12.0 to 13.1. The pointers outlive no library:
                // it is never closed.
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
    version: "cublasLtGetVersion"() -> usize;
    status_name: "cublasLtGetStatusName"(Status) -> *const c_char;
    status_text: "cublasLtGetStatusString"(Status) -> *const c_char;
    create: "cublasLtCreate"(*mut Opaque) -> Status;
    destroy: "cublasLtDestroy"(Opaque) -> Status;
    descriptor_create: "cublasLtMatmulDescCreate"(*mut Opaque, ComputeType, DataType) -> Status;
    descriptor_destroy: "cublasLtMatmulDescDestroy"(Opaque) -> Status;
    descriptor_set: "cublasLtMatmulDescSetAttribute"(Opaque, DescriptorAttribute, *const c_void, usize) -> Status;
    // Rows, columns, elements between the starts of columns.
    layout_create: "cublasLtMatrixLayoutCreate"(*mut Opaque, DataType, u64, u64, i64) -> Status;
    layout_destroy: "cublasLtMatrixLayoutDestroy"(Opaque) -> Status;
    preference_create: "cublasLtMatmulPreferenceCreate"(*mut Opaque) -> Status;
    preference_destroy: "cublasLtMatmulPreferenceDestroy"(Opaque) -> Status;
    preference_set: "cublasLtMatmulPreferenceSetAttribute"(Opaque, PreferenceAttribute, *const c_void, usize) -> Status;
    // Handle, descriptor, layouts of A, B, C and D, preference, room for how many results, and how many there are.
    heuristic: "cublasLtMatmulAlgoGetHeuristic"(
        Opaque, Opaque, Opaque, Opaque, Opaque, Opaque, Opaque, c_int, *mut HeuristicResult, *mut c_int,
    ) -> Status;
    // Handle, descriptor, alpha, A, B, beta, C, D, algorithm, workspace and its bytes, stream.
    multiply: "cublasLtMatmul"(
        Opaque, Opaque, *const f32, *const c_void, Opaque, *const c_void, Opaque, *const f32, *const c_void, Opaque,
        *mut c_void, Opaque, *const Algorithm, *mut c_void, usize, *mut c_void,
    ) -> Status;
}

impl Api {
    pub(super) fn check(&self, call: &'static str, status: Status) -> Result<(), CublasLtError> {
        if status == Status::SUCCESS { Ok(()) } else { Err(CublasLtError::new(self, call, status)) }
    }
}
