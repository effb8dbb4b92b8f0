//! Arenas as safetensors files: the one place that knows the format.

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
    #[error("tensor `{name}` is {dtype} {shape:?}, expected F32 {expected:?}")]
    Shape { name: String, dtype: String, shape: Vec<usize>, expected: Vec<usize> },
}

/// The segments of an arena as tensors of their own. The padding is zero and not stored.
pub(super) fn encode_segments(segments: &[Segment], arena: &[f32]) -> Vec<u8> {
    let bytes = to_bytes(arena);
    let tensor = |segment: &Segment| {
        let range = segment.offset * 4..(segment.offset + segment.elems()) * 4;
        (segment.name.clone(), segment.shape.clone(), &bytes[range])
    };
    encode(segments.iter().map(tensor))
}

/// Whole arenas by name.
pub(super) fn encode_arenas(arenas: &[(String, Vec<f32>)]) -> Vec<u8> {
    let bytes: Vec<Vec<u8>> = arenas.iter().map(|(_, arena)| to_bytes(arena)).collect();
    encode(
        arenas.iter().zip(&bytes).map(|((name, arena), bytes)| (name.clone(), vec![arena.len()], &bytes[..])),
    )
}

pub(super) fn decode_segments(
    bytes: &[u8],
    segments: &[Segment],
    arena_elems: usize,
) -> Result<Vec<f32>, TensorError> {
    let tensors = SafeTensors::deserialize(bytes).map_err(format)?;
    check_count(&tensors, segments.len())?;
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
    let tensors = SafeTensors::deserialize(bytes).map_err(format)?;
    check_count(&tensors, names.len())?;
    let arena = |name: &&str| {
        let mut values = vec![0.0; arena_elems];
        copy(&tensors, name, &[arena_elems], &mut values)?;
        Ok(((*name).to_owned(), values))
    };
    names.iter().map(arena).collect()
}

fn encode<'a>(tensors: impl Iterator<Item = (String, Vec<usize>, &'a [u8])>) -> Vec<u8> {
    let views = tensors.map(|(name, shape, bytes)| {
        (name, TensorView::new(Dtype::F32, shape, bytes).expect("a range has its shape's length"))
    });
    // `format` is what PyTorch's own files state; some readers ask for it.
    let metadata = [("format".to_owned(), "pt".to_owned())].into();
    safetensors::serialize(views, Some(metadata)).expect("names are distinct and lengths fit")
}

fn check_count(tensors: &SafeTensors<'_>, expected: usize) -> Result<(), TensorError> {
    let got = tensors.len();
    if got == expected { Ok(()) } else { Err(TensorError::Count { got, expected }) }
}

fn copy(tensors: &SafeTensors<'_>, name: &str, shape: &[usize], out: &mut [f32]) -> Result<(), TensorError> {
    let tensor = tensors.tensor(name).map_err(|_| TensorError::Missing(name.to_owned()))?;
    if tensor.dtype() != Dtype::F32 || tensor.shape() != shape {
        return Err(TensorError::Shape {
            name: name.to_owned(),
            dtype: tensor.dtype().to_string(),
            shape: tensor.shape().to_vec(),
            expected: shape.to_vec(),
        });
    }
    for (value, bytes) in out.iter_mut().zip(tensor.data().as_chunks().0) {
        *value = f32::from_le_bytes(*bytes);
    }
    Ok(())
}

fn to_bytes(arena: &[f32]) -> Vec<u8> {
    arena.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn format(error: safetensors::SafeTensorError) -> TensorError {
    TensorError::Format(error.to_string())
}
