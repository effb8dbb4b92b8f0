//! What the numbers of a buffer are, how they are packed for the wire, and how they are combined.

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DType {
    F32,
    F64,
}

impl DType {
    /// Bytes of one element.
    pub const fn bytes(self) -> usize {
        match self {
            DType::F32 => 4,
            DType::F64 => 8,
        }
    }

    /// The value in a segment header; 0 is left free, so that a zeroed header is no type.
    pub const fn code(self) -> u8 {
        match self {
            DType::F32 => 1,
            DType::F64 => 2,
        }
    }

    pub const fn from_code(code: u8) -> Option<DType> {
        match code {
            1 => Some(DType::F32),
            2 => Some(DType::F64),
            _ => None,
        }
    }
}

/// How elements are packed in a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Codec {
    /// As they are, little-endian.
    None,
}

impl Codec {
    /// The value in a segment header.
    pub const fn code(self) -> u8 {
        match self {
            Codec::None => 1,
        }
    }

    pub const fn from_code(code: u8) -> Option<Codec> {
        match code {
            1 => Some(Codec::None),
            _ => None,
        }
    }
}

/// How contributions are combined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReduceOp {
    Sum,
}
