//! Compressed parameters as a safetensors file of standard types, so that any program reads it.
//!
//! A tensor that is not packed has its name, F32 and its shape. A packed one is up to three tensors: `NAME` holds the
//! codes (I8, or U8 with two codes of 4 bits a byte) or, only pruned, F32; `NAME.scale` one BF16 a block of codes;
//! `NAME.mask`, only where that is smaller, one bit a weight, and then `NAME` holds those that are not zero alone.
//! `compression` of the manifest says which tensor is stored how; `docs/compress.md` reads one with numpy.

use std::collections::BTreeMap;

use hcrun_protocol::model::Segment;
use safetensors::tensor::{Dtype, SafeTensors};
use serde::{Deserialize, Serialize};

use super::tensors::{self, Tensor, TensorError, from_bytes, to_bytes, view};
use crate::compress::{
    BLOCK_ELEMS, Bits, Packed, Settings, Values, clear_positions, join_nibbles, mask, positions, restore,
    split_nibbles,
};

/// The manifest's `compression`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Compression {
    pub quantize: Option<Bits>,
    /// Millionths of each matrix that were made zero.
    pub pruned_millionths: Option<u32>,
    /// What is packed, by name; all else is F32.
    pub tensors: BTreeMap<String, PackedEntry>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PackedEntry {
    pub shape: Vec<usize>,
    pub encoding: Encoding,
    /// Codes that share a scale, row after row; none for F32.
    pub block: Option<usize>,
    /// Only what is not zero is stored, with a mask.
    pub sparse: bool,
    /// Weights that are zero.
    pub zeros: usize,
    /// Of its tensors, without names and shapes.
    pub bytes: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Encoding {
    F32,
    Int8,
    Int4,
}

/// The file, and what the manifest says of it.
pub(super) fn encode(packed: &[Packed], settings: &Settings) -> (Vec<u8>, Compression) {
    let mut parts = Vec::new();
    let mut entries = BTreeMap::new();
    for tensor in packed {
        let (stored, sparse) = smaller(tensor);
        if tensor.shape.len() > 1 {
            entries.insert(tensor.name.clone(), entry(tensor, &stored, sparse));
        }
        parts.extend(stored);
    }
    let compression = Compression {
        quantize: settings.quantize,
        pruned_millionths: settings.prune.map(|share| share.millionths()),
        tensors: entries,
    };
    (encode_parts(&parts), compression)
}

/// Restores an arena. Nothing is taken on trust: the digests of a file say only that it is what somebody wrote.
pub(super) fn decode(
    bytes: &[u8],
    compression: &Compression,
    segments: &[Segment],
    arena_elems: usize,
) -> Result<Vec<f32>, TensorError> {
    let expected =
        segments.iter().map(|segment| compression.tensors.get(&segment.name).map_or(1, parts_of)).sum();
    let tensors = tensors::open(bytes, expected)?;
    // All shapes are checked before an arena of the stated size is allocated.
    let mut stored = Vec::with_capacity(segments.len());
    for segment in segments {
        stored.push(match compression.tensors.get(&segment.name) {
            Some(entry) => Stored::find(&tensors, segment, entry)?,
            None => Stored::Plain(view(&tensors, &segment.name, Dtype::F32, &segment.shape)?),
        });
    }
    let mut arena = vec![0.0; arena_elems];
    for (segment, stored) in segments.iter().zip(stored) {
        let out = &mut arena[segment.offset..segment.offset + segment.elems()];
        stored.restore(out);
        if out.iter().any(|value| !value.is_finite()) {
            return Err(wrong(&segment.name, "a weight is not finite".to_owned()));
        }
    }
    Ok(arena)
}

/// A tensor of the file that is to be written.
struct Part {
    name: String,
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

/// The parts of a tensor as they take fewer bytes of a file, and whether that is with a mask.
fn smaller(tensor: &Packed) -> (Vec<Part>, bool) {
    let dense = parts(tensor, false);
    if tensor.shape.len() < 2 || tensor.zeros() == 0 {
        return (dense, false);
    }
    let sparse = parts(tensor, true);
    if encode_parts(&sparse).len() < encode_parts(&dense).len() { (sparse, true) } else { (dense, false) }
}

fn parts(tensor: &Packed, sparse: bool) -> Vec<Part> {
    let name = &tensor.name;
    let part =
        |ending: &str, dtype, shape, bytes| Part { name: format!("{name}{ending}"), dtype, shape, bytes };
    let mut parts = Vec::new();
    match &tensor.values {
        Values::Plain(values) => {
            let (kept, mask) = kept(values, |value| *value != 0.0, sparse);
            let shape = if sparse { vec![kept.len()] } else { tensor.shape.clone() };
            parts.push(part("", Dtype::F32, shape, to_bytes(&kept)));
            parts.extend(mask.map(|mask| part(MASK, Dtype::U8, vec![mask.len()], mask)));
        }
        Values::Coded { bits, codes, scales } => {
            let (kept, mask) = kept(codes, |code| *code != 0, sparse);
            parts.push(match bits {
                Bits::Int8 => {
                    let shape = if sparse { vec![kept.len()] } else { tensor.shape.clone() };
                    part("", Dtype::I8, shape, kept.iter().map(|code| code.cast_unsigned()).collect())
                }
                Bits::Int4 => {
                    let bytes = join_nibbles(&kept);
                    part("", Dtype::U8, vec![bytes.len()], bytes)
                }
            });
            let halves = scales.iter().flat_map(|scale| scale.to_le_bytes().into_iter().skip(2)).collect();
            parts.push(part(SCALE, Dtype::BF16, vec![scales.len()], halves));
            parts.extend(mask.map(|mask| part(MASK, Dtype::U8, vec![mask.len()], mask)));
        }
    }
    parts
}

/// All values, or those that are not zero and where they are.
fn kept<T: Copy>(values: &[T], is_kept: impl Fn(&T) -> bool, sparse: bool) -> (Vec<T>, Option<Vec<u8>>) {
    if !sparse {
        return (values.to_vec(), None);
    }
    let kept = values.iter().copied().filter(|value| is_kept(value)).collect();
    (kept, Some(mask(values.iter().map(is_kept))))
}

fn entry(tensor: &Packed, stored: &[Part], sparse: bool) -> PackedEntry {
    let (encoding, block) = match &tensor.values {
        Values::Plain(_) => (Encoding::F32, None),
        Values::Coded { bits: Bits::Int8, .. } => (Encoding::Int8, Some(BLOCK_ELEMS)),
        Values::Coded { bits: Bits::Int4, .. } => (Encoding::Int4, Some(BLOCK_ELEMS)),
    };
    PackedEntry {
        shape: tensor.shape.clone(),
        encoding,
        block,
        sparse,
        zeros: tensor.zeros(),
        bytes: stored.iter().map(|part| part.bytes.len()).sum(),
    }
}

fn encode_parts(parts: &[Part]) -> Vec<u8> {
    tensors::encode(parts.iter().map(|Part { name, dtype, shape, bytes }| Tensor {
        name: name.clone(),
        dtype: *dtype,
        shape: shape.clone(),
        bytes,
    }))
}

fn parts_of(entry: &PackedEntry) -> usize {
    1 + usize::from(entry.encoding != Encoding::F32) + usize::from(entry.sparse)
}

/// A segment's bytes in the file; lengths fit each other.
enum Stored<'a> {
    Plain(&'a [u8]),
    Packed { values: Coded<'a>, mask: Option<&'a [u8]> },
}

enum Coded<'a> {
    F32(&'a [u8]),
    Codes { bits: Bits, codes: &'a [u8], scales: &'a [u8], block: usize },
}

impl<'a> Stored<'a> {
    fn find(
        tensors: &SafeTensors<'a>,
        segment: &Segment,
        entry: &PackedEntry,
    ) -> Result<Stored<'a>, TensorError> {
        let name = &segment.name;
        if entry.shape != segment.shape {
            let reason = format!("the manifest says {:?}, the model {:?}", entry.shape, segment.shape);
            return Err(wrong(name, reason));
        }
        let elems = segment.elems();
        let (mask, kept) = if entry.sparse {
            let mask = view(tensors, &format!("{name}{MASK}"), Dtype::U8, &[elems.div_ceil(8)])?;
            if !clear_positions(mask, elems) {
                return Err(wrong(name, format!("its mask has bits beyond {elems} weights")));
            }
            (Some(mask), positions(mask).count())
        } else {
            (None, elems)
        };
        let shape = if entry.sparse { vec![kept] } else { segment.shape.clone() };
        let values = match (entry.encoding, entry.block) {
            (Encoding::F32, _) => Coded::F32(view(tensors, name, Dtype::F32, &shape)?),
            (_, None | Some(0)) => return Err(wrong(name, "it has codes and no block".to_owned())),
            (encoding, Some(block)) => {
                let scale = format!("{name}{SCALE}");
                let scales = view(tensors, &scale, Dtype::BF16, &[elems.div_ceil(block)])?;
                let (bits, codes) = match encoding {
                    Encoding::Int8 => (Bits::Int8, view(tensors, name, Dtype::I8, &shape)?),
                    _ => (Bits::Int4, view(tensors, name, Dtype::U8, &[kept.div_ceil(2)])?),
                };
                Coded::Codes { bits, codes, scales, block }
            }
        };
        Ok(Stored::Packed { values, mask })
    }

    fn restore(self, out: &mut [f32]) {
        match self {
            Stored::Plain(bytes) | Stored::Packed { values: Coded::F32(bytes), mask: None } => {
                from_bytes(bytes, out)
            }
            Stored::Packed { values: Coded::F32(bytes), mask: Some(mask) } => {
                let mut kept = vec![0.0; bytes.len() / 4];
                from_bytes(bytes, &mut kept);
                positions(mask).zip(kept).for_each(|(index, value)| out[index] = value);
            }
            Stored::Packed { values: Coded::Codes { bits, codes, scales, block }, mask } => {
                let kept = mask.map_or(out.len(), |mask| positions(mask).count());
                let kept = match bits {
                    Bits::Int8 => codes.iter().map(|byte| byte.cast_signed()).collect(),
                    Bits::Int4 => split_nibbles(codes, kept),
                };
                let codes = match mask {
                    None => kept,
                    Some(mask) => {
                        let mut codes = vec![0; out.len()];
                        positions(mask).zip(kept).for_each(|(index, code)| codes[index] = code);
                        codes
                    }
                };
                let scale = |bytes: &[u8; 2]| f32::from_bits(u32::from(u16::from_le_bytes(*bytes)) << 16);
                let scales: Vec<f32> = scales.as_chunks().0.iter().map(scale).collect();
                restore(&codes, &scales, block, out);
            }
        }
    }
}

fn wrong(name: &str, reason: String) -> TensorError {
    TensorError::Packed { name: name.to_owned(), reason }
}

const SCALE: &str = ".scale";
const MASK: &str = ".mask";
