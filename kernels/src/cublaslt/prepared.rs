//! What cuBLASLt needs for products of one shape, made once.

#![expect(unsafe_code, reason = "cuBLASLt is a C library")]

use std::ffi::c_void;
use std::fmt;
use std::ptr;

use super::api::{
    Algorithm, Api, ComputeType, DataType, DescriptorAttribute, Epilogue, HeuristicResult, Opaque, Operation,
    PreferenceAttribute, ReductionSchemes, Status,
};
use super::error::{CublasLtError, Refused};
use super::handle::WORKSPACE_BYTES;
use crate::device::{Factor, Lies, Out, Product};

/// All of a product that an algorithm depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Shape {
    rows: u64,
    columns: u64,
    depth: u64,
    left: Placed,
    right: Placed,
    out: Placed,
    kind: Kind,
}

/// How a matrix lies: alignment in bytes, and elements between the starts of what is contiguous.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Placed {
    alignment: u32,
    lies: Lies,
    pitch: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Values {
        /// None without a bias. The library reads it off the address itself.
        bias_alignment: Option<u32>,
        add: bool,
    },
    Gradient,
}

impl Shape {
    pub(super) fn of(product: &Product) -> Shape {
        let factor = |factor: Factor| Placed {
            alignment: alignment(factor.at.value()),
            lies: factor.lies,
            pitch: factor.pitch,
        };
        let (at, pitch, kind) = match product.out {
            Out::Values { at, pitch, bias, add } => {
                let bias_alignment = (bias.value() != 0).then(|| alignment(bias.value()));
                (at.value(), pitch, Kind::Values { bias_alignment, add })
            }
            Out::Gradient { at, pitch } => (at.value(), pitch, Kind::Gradient),
        };
        Shape {
            rows: product.rows,
            columns: product.columns,
            depth: product.depth,
            left: factor(product.left),
            right: factor(product.right),
            out: Placed { alignment: alignment(at), lies: Lies::Along, pitch },
            kind,
        }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shape { rows, columns, depth, kind, .. } = self;
        let what = match kind {
            Kind::Values { bias_alignment: Some(_), .. } => "values with a bias",
            Kind::Values { add: true, .. } => "values that are added",
            Kind::Values { .. } => "values",
            Kind::Gradient => "a gradient",
        };
        write!(f, "{what} [{rows}, {columns}] of sums over {depth}")
    }
}

/// Descriptor, layouts and algorithm of one shape. To cuBLASLt the result is transposed, so that A is our right factor.
pub(super) struct Prepared {
    descriptor: Object,
    a: Object,
    b: Object,
    out: Object,
    algorithm: Algorithm,
}

impl Prepared {
    /// With the bias of its first product, whose address says how biases of this shape are aligned.
    pub(super) fn new(
        api: &Api,
        handle: Opaque,
        shape: &Shape,
        product: &Product,
    ) -> Result<Prepared, Refused> {
        let Shape { rows, columns, depth, left, right, out, kind } = *shape;
        let result_type = match kind {
            Kind::Values { .. } => DataType::BF16,
            Kind::Gradient => DataType::F32,
        };
        // What lies as `[a, b]` is to cuBLASLt `[b, a]`: contiguous first.
        let (a, transpose_a) = match right.lies {
            Lies::Along => (layout(api, DataType::BF16, depth, columns, right)?, Operation::TRANSPOSED),
            Lies::Across => (layout(api, DataType::BF16, columns, depth, right)?, Operation::AS_IT_LIES),
        };
        let (b, transpose_b) = match left.lies {
            Lies::Along => (layout(api, DataType::BF16, depth, rows, left)?, Operation::AS_IT_LIES),
            Lies::Across => (layout(api, DataType::BF16, rows, depth, left)?, Operation::TRANSPOSED),
        };
        let prepared = Prepared {
            descriptor: descriptor(api)?,
            a,
            b,
            out: layout(api, result_type, columns, rows, out)?,
            algorithm: Algorithm::default(),
        };
        prepared.set(api, DescriptorAttribute::TRANSA, &transpose_a)?;
        prepared.set(api, DescriptorAttribute::TRANSB, &transpose_b)?;
        let has_bias = matches!(kind, Kind::Values { bias_alignment: Some(_), .. });
        prepared.set(
            api,
            DescriptorAttribute::EPILOGUE,
            if has_bias { &Epilogue::BIAS } else { &Epilogue::NONE },
        )?;
        prepared.set_bias(api, product)?;
        let preference = preference(api, [right, left, out, out].map(|placed| placed.alignment))?;
        let algorithm = prepared.algorithm(api, handle, &preference)?;
        Ok(Prepared { algorithm, ..prepared })
    }

    /// The first of the library's list, which it orders by the time it expects.
    fn algorithm(&self, api: &Api, handle: Opaque, preference: &Object) -> Result<Algorithm, Refused> {
        let (mut found, mut count) = (HeuristicResult::NONE, 0);
        // SAFETY: all objects exist; one result is written, and their number.
        let status = unsafe {
            (api.heuristic)(
                handle,
                self.descriptor.raw,
                self.a.raw,
                self.b.raw,
                self.out.raw,
                self.out.raw,
                preference.raw,
                1,
                &mut found,
                &mut count,
            )
        };
        api.check(HEURISTIC, status)?;
        if count < 1 {
            return Err(Refused::NoAlgorithm);
        }
        api.check(HEURISTIC, found.state)?;
        if found.workspace_bytes > WORKSPACE_BYTES { Err(Refused::NoAlgorithm) } else { Ok(found.algorithm) }
    }

    /// Queues a product of this shape.
    pub(super) fn start(
        &self,
        api: &Api,
        handle: Opaque,
        product: &Product,
        workspace: u64,
        stream: Opaque,
    ) -> Result<(), CublasLtError> {
        self.set_bias(api, product)?;
        let (out, add) = match product.out {
            Out::Values { at, add, .. } => (at.value(), add),
            Out::Gradient { at, .. } => (at.value(), true),
        };
        let (alpha, beta) = (1.0_f32, if add { 1.0_f32 } else { 0.0 });
        // SAFETY: handle and objects exist, the context is current, and it is that of this shape. That addresses
        // are those of live buffers is what products are typed for. The scalars are read before this returns.
        let status = unsafe {
            (api.multiply)(
                handle,
                self.descriptor.raw,
                &alpha,
                memory(product.right.at.value()),
                self.a.raw,
                memory(product.left.at.value()),
                self.b.raw,
                &beta,
                memory(out),
                self.out.raw,
                memory(out),
                self.out.raw,
                &self.algorithm,
                memory(workspace),
                WORKSPACE_BYTES,
                stream,
            )
        };
        api.check("cublasLtMatmul", status)
    }

    fn set_bias(&self, api: &Api, product: &Product) -> Result<(), CublasLtError> {
        match product.out {
            Out::Values { bias, .. } if bias.value() != 0 => {
                self.set(api, DescriptorAttribute::BIAS_POINTER, &memory(bias.value()))
            }
            _ => Ok(()),
        }
    }

    fn set<T: Copy>(
        &self,
        api: &Api,
        attribute: DescriptorAttribute,
        value: &T,
    ) -> Result<(), CublasLtError> {
        // SAFETY: the descriptor exists; the value is copied, and has the attribute's type.
        let status = unsafe {
            (api.descriptor_set)(self.descriptor.raw, attribute, ptr::from_ref(value).cast(), size_of::<T>())
        };
        api.check("cublasLtMatmulDescSetAttribute", status)
    }
}

fn descriptor(api: &Api) -> Result<Object, CublasLtError> {
    // SAFETY: writes one handle.
    Object::new(api, "cublasLtMatmulDescCreate", api.descriptor_destroy, |raw| unsafe {
        (api.descriptor_create)(raw, ComputeType::F32, DataType::F32)
    })
}

fn layout(api: &Api, of: DataType, contiguous: u64, count: u64, placed: Placed) -> Result<Object, Refused> {
    let pitch = i64::try_from(placed.pitch).map_err(|_| Refused::Pitch { pitch: placed.pitch })?;
    // SAFETY: writes one handle.
    let object = Object::new(api, "cublasLtMatrixLayoutCreate", api.layout_destroy, |raw| unsafe {
        (api.layout_create)(raw, of, contiguous, count, pitch)
    });
    Ok(object?)
}

/// Of A, B, C and D.
fn preference(api: &Api, alignments: [u32; 4]) -> Result<Object, CublasLtError> {
    // SAFETY: writes one handle.
    let preference =
        Object::new(api, "cublasLtMatmulPreferenceCreate", api.preference_destroy, |raw| unsafe {
            (api.preference_create)(raw)
        })?;
    let set = |attribute: PreferenceAttribute, value: *const c_void, bytes: usize| {
        // SAFETY: the preference exists; the value is copied, and has the attribute's type.
        let status = unsafe { (api.preference_set)(preference.raw, attribute, value, bytes) };
        api.check("cublasLtMatmulPreferenceSetAttribute", status)
    };
    let workspace = WORKSPACE_BYTES as u64;
    set(PreferenceAttribute::MAX_WORKSPACE_BYTES, ptr::from_ref(&workspace).cast(), size_of_val(&workspace))?;
    let schemes = ReductionSchemes::COMPUTE_TYPE;
    set(PreferenceAttribute::REDUCTION_SCHEME_MASK, ptr::from_ref(&schemes).cast(), size_of_val(&schemes))?;
    let attributes = [
        PreferenceAttribute::MIN_ALIGNMENT_A_BYTES,
        PreferenceAttribute::MIN_ALIGNMENT_B_BYTES,
        PreferenceAttribute::MIN_ALIGNMENT_C_BYTES,
        PreferenceAttribute::MIN_ALIGNMENT_D_BYTES,
    ];
    for (attribute, alignment) in attributes.into_iter().zip(alignments) {
        set(attribute, ptr::from_ref(&alignment).cast(), size_of_val(&alignment))?;
    }
    Ok(preference)
}

/// One of the library's objects, given back when it is dropped.
struct Object {
    raw: Opaque,
    destroy: unsafe extern "C" fn(Opaque) -> Status,
}

impl Object {
    fn new(
        api: &Api,
        call: &'static str,
        destroy: unsafe extern "C" fn(Opaque) -> Status,
        create: impl FnOnce(*mut Opaque) -> Status,
    ) -> Result<Object, CublasLtError> {
        let mut raw = ptr::null_mut();
        api.check(call, create(&mut raw))?;
        Ok(Object { raw, destroy })
    }
}

impl Drop for Object {
    fn drop(&mut self) {
        // SAFETY: made once, destroyed once; what was queued has its own copy.
        unsafe { (self.destroy)(self.raw) };
    }
}

/// Of an address, in bytes; more than 256 is never asked for.
fn alignment(address: u64) -> u32 {
    1 << address.trailing_zeros().min(8)
}

/// Where something lies on the device; never followed here.
fn memory(address: u64) -> *mut c_void {
    ptr::with_exposed_provenance_mut(usize::try_from(address).unwrap_or_default())
}

const HEURISTIC: &str = "cublasLtMatmulAlgoGetHeuristic";
