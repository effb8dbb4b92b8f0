//! What the numbers of a buffer are, how they are packed for the wire, and how they are combined.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ids::Rank;
use crate::schedule::Phase;

/// The type of the elements of a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DType {
    F32,
    F64,
    /// IEEE 754 half precision. Sums are formed in f32 and rounded once.
    F16,
    /// The upper half of an f32. Sums are formed in f32 and rounded once.
    Bf16,
    I8,
    U8,
    I32,
    U32,
    I64,
    U64,
}

impl DType {
    /// Every type, in the order of [`Self::code`]. A code is never reused.
    pub const ALL: [DType; 10] = [
        DType::F32,
        DType::F64,
        DType::F16,
        DType::Bf16,
        DType::I8,
        DType::U8,
        DType::I32,
        DType::U32,
        DType::I64,
        DType::U64,
    ];

    /// Bytes of one element.
    pub const fn bytes(self) -> usize {
        match self {
            DType::I8 | DType::U8 => 1,
            DType::F16 | DType::Bf16 => 2,
            DType::F32 | DType::I32 | DType::U32 => 4,
            DType::F64 | DType::I64 | DType::U64 => 8,
        }
    }

    pub const fn is_integer(self) -> bool {
        matches!(self, DType::I8 | DType::U8 | DType::I32 | DType::U32 | DType::I64 | DType::U64)
    }

    /// Whether sums of it are formed in a wider type, so that only an owner that sees all terms may round.
    pub const fn is_half(self) -> bool {
        matches!(self, DType::F16 | DType::Bf16)
    }

    /// The value in a segment header; 0 is left free, so that a zeroed header is no type.
    pub const fn code(self) -> u8 {
        self as u8 + 1
    }

    pub fn from_code(code: u8) -> Option<DType> {
        DType::ALL.into_iter().find(|dtype| dtype.code() == code)
    }
}

/// How elements are packed in a payload. All but [`Codec::None`] take f32 and lose precision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Codec {
    /// As they are, little-endian.
    #[default]
    None,
    /// Rounded to bf16: 2 bytes an element.
    Bf16,
    /// Rounded to half precision: 2 bytes an element; above 65,504 in magnitude it becomes infinite.
    F16,
    /// Blocks of 256 elements: a scale as bf16, then one signed byte an element; 8.06 bits an element.
    Int8,
    /// Blocks of 128 elements: a scale as bf16, then 4 bits an element, the even one low; 4.13 bits an element.
    Int4,
}

impl Codec {
    pub const ALL: [Codec; 5] = [Codec::None, Codec::Bf16, Codec::F16, Codec::Int8, Codec::Int4];

    /// Elements that share a scale; 1 for codecs without blocks. Blocks are counted from element 0 of the
    /// buffer, so a range that is packed must begin at a multiple of it.
    pub const fn block_elems(self) -> usize {
        match self {
            Codec::None | Codec::Bf16 | Codec::F16 => 1,
            Codec::Int8 => 256,
            Codec::Int4 => 128,
        }
    }

    pub const fn is_lossy(self) -> bool {
        !matches!(self, Codec::None)
    }

    /// Bytes of a payload of `elems` elements. The last block may be short.
    pub const fn payload_bytes(self, dtype: DType, elems: usize) -> usize {
        const SCALE_BYTES: usize = 2;
        let scales = elems.div_ceil(self.block_elems()).saturating_mul(SCALE_BYTES);
        match self {
            Codec::None => elems.saturating_mul(dtype.bytes()),
            Codec::Bf16 | Codec::F16 => elems.saturating_mul(2),
            Codec::Int8 => elems.saturating_add(scales),
            // Blocks are even, so only the last byte of all can be half full.
            Codec::Int4 => elems.div_ceil(2).saturating_add(scales),
        }
    }

    /// The value in a segment header.
    pub const fn code(self) -> u8 {
        self as u8 + 1
    }

    pub fn from_code(code: u8) -> Option<Codec> {
        Codec::ALL.into_iter().find(|codec| codec.code() == code)
    }

    /// The word in job files and reports.
    pub const fn name(self) -> &'static str {
        match self {
            Codec::None => "none",
            Codec::Bf16 => "bf16",
            Codec::F16 => "f16",
            Codec::Int8 => "int8",
            Codec::Int4 => "int4",
        }
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How one frame is packed: the codec, and what else rounding depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packing {
    pub codec: Codec,
    pub phase: Phase,
    /// Who packs. Part of the key of random rounding: one key for all ranks would make their errors equal,
    /// and the error of a sum over N of them N-fold.
    pub source: Rank,
}

/// How contributions are combined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReduceOp {
    /// Integers wrap.
    #[default]
    Sum,
    /// The sum, divided once by the number of ranks where it is formed. Not for integers.
    Average,
    /// Integers wrap.
    Product,
    /// NaN if any contribution is NaN; −0 is less than +0.
    Min,
    /// NaN if any contribution is NaN; +0 is greater than −0.
    Max,
}

impl ReduceOp {
    pub const ALL: [ReduceOp; 5] =
        [ReduceOp::Sum, ReduceOp::Average, ReduceOp::Product, ReduceOp::Min, ReduceOp::Max];

    /// The value in a segment header.
    pub const fn code(self) -> u8 {
        self as u8 + 1
    }

    pub fn from_code(code: u8) -> Option<ReduceOp> {
        ReduceOp::ALL.into_iter().find(|op| op.code() == code)
    }

    /// Whether it is defined for elements of this type.
    pub const fn takes(self, dtype: DType) -> bool {
        !(matches!(self, ReduceOp::Average) && dtype.is_integer())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_read_back() {
        for dtype in DType::ALL {
            assert_eq!(DType::from_code(dtype.code()), Some(dtype));
        }
        for codec in Codec::ALL {
            assert_eq!(Codec::from_code(codec.code()), Some(codec));
        }
        for op in ReduceOp::ALL {
            assert_eq!(ReduceOp::from_code(op.code()), Some(op));
        }
        assert_eq!((DType::from_code(0), Codec::from_code(0), ReduceOp::from_code(0)), (None, None, None));
    }

    #[test]
    fn payloads_have_the_stated_lengths() {
        let bytes = |codec: Codec, elems| codec.payload_bytes(DType::F32, elems);
        for codec in Codec::ALL {
            assert_eq!(bytes(codec, 0), 0);
        }
        assert_eq!(bytes(Codec::None, 257), 1_028);
        assert_eq!(bytes(Codec::Bf16, 257), 514);
        assert_eq!(bytes(Codec::Int8, 256), 258);
        assert_eq!(bytes(Codec::Int8, 257), 258 + 3);
        assert_eq!(bytes(Codec::Int4, 128), 66);
        assert_eq!(bytes(Codec::Int4, 129), 66 + 3);
    }
}
