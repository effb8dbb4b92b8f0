//! The kernels of each codec.

use std::ops::Range;

use hcrun_protocol::dtype::{Codec, Packing};

use crate::device::{Address, Device, DeviceBuffer, DeviceError};
use crate::launch;
use crate::wire::Rounding;

/// Packs elements of `values`, which hold afterwards what receivers decode.
pub(super) fn pack(
    device: &dyn Device,
    values: Address<f32>,
    residual: Address<f32>,
    range: &Range<usize>,
    (packing, rounding): (Packing, Rounding),
    payload: &DeviceBuffer,
) -> Result<(), DeviceError> {
    macro_rules! start {
        ($kernel:ident) => {
            launch::$kernel {
                n: range.len() as u64,
                begin: range.start as u64,
                stochastic: u32::from(rounding != Rounding::Nearest),
                stream: rounding.stream(packing).unwrap_or(0),
                values,
                residual,
                payload: payload.at(0),
                decoded: values,
            }
            .launch(device)
        };
    }
    match packing.codec {
        Codec::None => Ok(()),
        Codec::Bf16 => start!(PackBf16),
        Codec::F16 => start!(PackF16),
        Codec::Int8 => start!(PackInt8),
        Codec::Int4 => start!(PackInt4),
    }
}

/// Payloads that lie `stride_bytes` apart, with the values of `out` as number `own_at` if they take part.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sum<'a> {
    pub(super) codec: Codec,
    pub(super) payloads: u32,
    pub(super) stride_bytes: usize,
    pub(super) payload: &'a DeviceBuffer,
    pub(super) own_at: Option<u32>,
    pub(super) divisor: f32,
}

impl Sum<'_> {
    /// Into the range of `out`.
    pub(super) fn launch(
        &self,
        device: &dyn Device,
        out: Address<f32>,
        range: &Range<usize>,
    ) -> Result<(), DeviceError> {
        let stride = (self.stride_bytes / self.codec.word_bytes()) as u64;
        macro_rules! start {
            ($kernel:ident) => {
                launch::$kernel {
                    n: range.len() as u64,
                    begin: range.start as u64,
                    payloads: self.payloads,
                    stride,
                    payload: self.payload.at(0),
                    own: if self.own_at.is_some() { out } else { Address::NULL },
                    own_at: self.own_at.unwrap_or(0),
                    divisor: self.divisor,
                    out,
                }
                .launch(device)
            };
        }
        match self.codec {
            Codec::None => start!(ReduceF32),
            Codec::Bf16 => start!(ReduceBf16),
            Codec::F16 => start!(ReduceF16),
            Codec::Int8 => start!(ReduceInt8),
            Codec::Int4 => start!(ReduceInt4),
        }
    }
}

trait Words {
    /// Of the type that a kernel reads payloads as.
    fn word_bytes(self) -> usize;
}

impl Words for Codec {
    fn word_bytes(self) -> usize {
        match self {
            Codec::None => size_of::<f32>(),
            Codec::Bf16 | Codec::F16 => size_of::<u16>(),
            Codec::Int8 | Codec::Int4 => size_of::<u8>(),
        }
    }
}
