//! Arenas as safetensors files: this and `compressed` know the format.

use hcrun_protocol::model::Segment;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

/// Why a file does not hold the tensors of a model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TensorError {
    #[error("not a safetensors file: {0}")]
    Format(String),
    #[error("tensor `{0}` is missing")]
    Missing(String),
    #[error("{got} tensors, {expected} expected")]
    Count { got: usize, expected: usize },
    #[error("tensor `{name}` is {found}, expected {expected}")]
    Shape { name: String, found: String, expected: String },
    #[error("tensor `{name}` is packed wrongly: {reason}")]
    Packed { name: String, reason: String },
}

/// The segments of an arena as tensors of their own. The padding is zero and not stored.
pub(super) fn encode_segments(segments: &[Segment], arena: &[f32]) -> Vec<u8> {
    let bytes = to_bytes(arena);
    let tensor = |segment: &Segment| {
        let range = segment.offset * 4..(segment.offset + segment.elems()) * 4;
        Tensor {
            name: segment.name.clone(),
            dtype: Dtype::F32,
            shape: segment.shape.clone(),
            bytes: &bytes[range],
        }
    };
    encode(segments.iter().map(tensor))
}

/// Whole arenas by name.
pub(super) fn encode_arenas(arenas: &[(String, Vec<f32>)]) -> Vec<u8> {
    let bytes: Vec<Vec<u8>> = arenas.iter().map(|(_, arena)| to_bytes(arena)).collect();
    let tensors = arenas.iter().zip(&bytes).map(|((name, arena), bytes)| Tensor {
        name: name.clone(),
        dtype: Dtype::F32,
        shape: vec![arena.len()],
        bytes,
    });
    encode(tensors)
}

pub(super) fn decode_segments(
    bytes: &[u8],
    segments: &[Segment],
    arena_elems: usize,
) -> Result<Vec<f32>, TensorError> {
    let tensors = open(bytes, segments.len())?;
    let mut arena = vec![0.0; arena_elems];
    for segment in segments {
        let values = &mut arena[segment.offset..segment.offset + segment.elems()];
        copy(&tensors, &segment.name, &segment.shape, values)?;
    }
    Ok(arena)
}

/// Arenas of these names, in this order.
pub(super) fn decode_arenas(
    bytes: &[u8],
    names: &[&str],
    arena_elems: usize,
) -> Result<Vec<(String, Vec<f32>)>, TensorError> {
    let tensors = open(bytes, names.len())?;
    let arena = |name: &&str| {
        let mut values = vec![0.0; arena_elems];
        copy(&tensors, name, &[arena_elems], &mut values)?;
        Ok(((*name).to_owned(), values))
    };
    names.iter().map(arena).collect()
}

/// A tensor as a file holds it.
pub(super) struct Tensor<'a> {
    pub(super) name: String,
    pub(super) dtype: Dtype,
    pub(super) shape: Vec<usize>,
    pub(super) bytes: &'a [u8],
}

pub(super) fn encode<'a>(tensors: impl Iterator<Item = Tensor<'a>>) -> Vec<u8> {
    let views = tensors.map(|Tensor { name, dtype, shape, bytes }| {
        (name, TensorView::new(dtype, shape, bytes).expect("bytes have their shape's length"))
    });
    // `format` is what PyTorch's own files state; some readers ask for it.
    let metadata = [("format".to_owned(), "pt".to_owned())].into();
    safetensors::serialize(views, Some(metadata)).expect("names are distinct and lengths fit")
}

/// A file of exactly so many tensors.
pub(super) fn open(bytes: &[u8], expected: usize) -> Result<SafeTensors<'_>, TensorError> {
    let tensors = SafeTensors::deserialize(bytes).map_err(|error| TensorError::Format(error.to_string()))?;
    let got = tensors.len();
    if got == expected { Ok(tensors) } else { Err(TensorError::Count { got, expected }) }
}

/// The bytes of a tensor of this type and shape.
pub(super) fn view<'a>(
    tensors: &SafeTensors<'a>,
    name: &str,
    dtype: Dtype,
    shape: &[usize],
) -> Result<&'a [u8], TensorError> {
    let tensor = tensors.tensor(name).map_err(|_| TensorError::Missing(name.to_owned()))?;
    if tensor.dtype() != dtype || tensor.shape() != shape {
        return Err(TensorError::Shape {
            name: name.to_owned(),
            found: format!("{} {:?}", tensor.dtype(), tensor.shape()),
            expected: format!("{dtype} {shape:?}"),
        });
    }
    Ok(tensor.data())
}

fn copy(tensors: &SafeTensors<'_>, name: &str, shape: &[usize], out: &mut [f32]) -> Result<(), TensorError> {
    from_bytes(view(tensors, name, Dtype::F32, shape)?, out);
    Ok(())
}

pub(super) fn to_bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

pub(super) fn from_bytes(bytes: &[u8], out: &mut [f32]) {
    for (value, bytes) in out.iter_mut().zip(bytes.as_chunks().0) {
        *value = f32::from_le_bytes(*bytes);
    }
}
