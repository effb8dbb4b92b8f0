//! A struct a kernel, with a field a parameter.
//!
//! Made from kernels/cuda/kernels.toml by `cargo xtask kernels generate`: change that.

use crate::device::{Address, Argument, Device, DeviceError, Kernel};

pub const KERNELS: &[&Kernel] = &[
    &Sgd::KERNEL,
    &Momentum::KERNEL,
    &Nesterov::KERNEL,
    &Adam::KERNEL,
    &Adamw::KERNEL,
    &MomentumBf16::KERNEL,
    &NesterovBf16::KERNEL,
    &AdamBf16::KERNEL,
    &AdamwBf16::KERNEL,
    &OuterNesterov::KERNEL,
    &NormPartials::KERNEL,
    &Clip::KERNEL,
    &Digest::KERNEL,
    &PackBf16::KERNEL,
    &PackF16::KERNEL,
    &PackInt8::KERNEL,
    &PackInt4::KERNEL,
    &UnpackBf16::KERNEL,
    &UnpackF16::KERNEL,
    &UnpackInt8::KERNEL,
    &UnpackInt4::KERNEL,
    &AccumulateBf16::KERNEL,
    &AccumulateF16::KERNEL,
    &AccumulateInt8::KERNEL,
    &AccumulateInt4::KERNEL,
    &ReduceF32::KERNEL,
    &ReduceBf16::KERNEL,
    &ReduceF16::KERNEL,
    &ReduceInt8::KERNEL,
    &ReduceInt4::KERNEL,
    &TopKHistogram::KERNEL,
    &TopKDigit::KERNEL,
    &TopKCount::KERNEL,
    &TopKOffsets::KERNEL,
    &TopKWrite::KERNEL,
    &TopKAdd::KERNEL,
    &ClipPartials::KERNEL,
    &ClipFactors::KERNEL,
    &ClippedSum::KERNEL,
    &LayerNorm::KERNEL,
    &LayerNormBackward::KERNEL,
    &ColumnParts::KERNEL,
    &AddParts::KERNEL,
    &Gelu::KERNEL,
    &GeluBackward::KERNEL,
    &Relu::KERNEL,
    &ReluBackward::KERNEL,
    &SumOf::KERNEL,
    &Put::KERNEL,
    &ToBf16::KERNEL,
    &Clear::KERNEL,
    &Embed::KERNEL,
    &EmbedBackward::KERNEL,
    &PositionsBackward::KERNEL,
    &CrossEntropy::KERNEL,
    &SquaredError::KERNEL,
    &AddLosses::KERNEL,
    &Linear::KERNEL,
    &LinearBackward::KERNEL,
    &LinearWeight::KERNEL,
    &Attention32::KERNEL,
    &Attention64::KERNEL,
    &Attention128::KERNEL,
    &AttentionDelta::KERNEL,
    &AttentionBackwardQueries32::KERNEL,
    &AttentionBackwardQueries64::KERNEL,
    &AttentionBackwardQueries128::KERNEL,
    &AttentionBackwardKeys32::KERNEL,
    &AttentionBackwardKeys64::KERNEL,
    &AttentionBackwardKeys128::KERNEL,
];

/// Gradient descent of elements `begin..begin + n` of an arena, into a second one; `copy`, if any, in bf16.
#[derive(Debug, Clone, Copy)]
pub struct Sgd {
    pub n: u64,
    pub begin: u64,
    pub step: Address<u32>,
    pub segments: u64,
    pub ends: Address<u64>,
    pub decays: Address<f32>,
    pub params: Address<f32>,
    pub gradient: Address<f32>,
    /// Written.
    pub out: Address<f32>,
    /// Written.
    pub copy: Address<u16>,
}

impl Sgd {
    pub const KERNEL: Kernel = Kernel {
        name: "sgd",
        file: "update.cu",
        block: 256,
        elems_per_block: 1024,
        shared_bytes: 0,
        parameters: 10,
    };

    /// # Errors
    /// As [`Kernel::start`].
    pub fn launch(&self, device: &dyn Device) -> Result<(), DeviceError> {
        Kernel::start(
            &Self::KERNEL,
            device,
            self.n,
            &[
                Argument::U64(self.n),
                Argument::U64(self.begin),
                Argument::Address(self.step.value()),
                Argument::U64(self.segments),
                Argument::Address(self.ends.value()),
                Argument::Address(self.decays.value()),
                Argument::Address(self.params.value()),
                Argument::Address(self.gradient.value()),
                Argument::Address(self.out.value()),
                Argument::Address(self.copy.value()),
            ],
        )
    }
}

/// Heavy-ball momentum of elements `begin..begin + n` of an arena, into a second one; `copy`, if any, in bf16.
#[derive(Debug, Clone, Copy)]
pub struct Momentum {
    pub n: u64,
    pub begin: u64,
    pub step: Address<u32>,
    pub segments: u64,
    pub ends: Address<u64>,
    pub decays: Address<f32>,
    pub params: Address<f32>,
    pub gradient: Address<f32>,
    /// Read and written.
    pub velocity: Address<f32>,
    /// Written.
    pub out: Address<f32>,
    /// Written.
    pub copy: Address<u16>,
}

impl Momentum {
    pub const KERNEL: Kernel = Kernel {
        name: "momentum",
        file: "update.cu",
        block: 256,
        elems_per_block: 1024,
        shared_bytes: 0,
        parameters: 11,
    };

    /// # Errors
    /// As [`Kernel::start`].
    pub fn launch(&self, device: &dyn Device) -> Result<(), DeviceError> {
        Kernel::start(
            &Self::KERNEL,
            device,
            self.n,
            &[
                Argument::U64(self.n),
                Argument::U64(self.begin),
                Argument::Address(self.step.value()),
                Argument::U64(self.segments),
                Argument::Address(self.ends.value()),
                Argument::Address(self.decays.value()),
                Argument::Address(self.params.value()),
                Argument::Address(self.gradient.value()),
                Argument::Address(self.velocity.value()),
                Argument::Address(self.out.value()),
                Argument::Address(self.copy.value()),
            ],
        )
    }
}

/// Nesterov's momentum of elements `begin..begin + n` of an arena, into a second one; `copy`, if any, in bf16.
#[derive(Debug, Clone, Copy)]
pub struct Nesterov {
    pub n: u64,
    pub begin: u64,
    pub step: Address<u32>,
    pub segments: u64,
    pub ends: Address<u64>,
    pub decays: Address<f32>,
    pub params: Address<f32>,
    pub gradient: Address<f32>,
    /// Read and written.
    pub velocity: Address<f32>,
    /// Written.
    pub out: Address<f32>,
    /// Written.
    pub copy: Address<u16>,
}

impl Nesterov {
    pub const KERNEL: Kernel = Kernel {
        name: "nesterov",
        file: "update.cu",
        block: 256,
        elems_per_block: 1024,
        shared_bytes: 0,
        parameters: 11,
    };

    /// # Errors
    /// As [`Kernel::start`].
    pub fn launch(&self, device: &dyn Device) -> Result<(), DeviceError> {
        Kernel::start(
            &Self::KERNEL,
            device,
            self.n,
            &[
                Argument::U64(self.n),
                Argument::U64(self.begin),
                Argument::Address(self.step.value()),
                Argument::U64(self.segments),
                Argument::Address(self.ends.value()),
                Argument::Address(self.decays.value()),
                Argument::Address(self.params.value()),
                Argument::Address(self.gradient.value()),
                Argument::Address(self.velocity.value()),
                Argument::Address(self.out.value()),
                Argument::Address(self.copy.value()),
            ],
        )
    }
}

/// Adam of elements `begin..begin + n` of an arena, into a second one; `copy`, if any, in bf16.
#[derive(Debug, Clone, Copy)]
pub struct Adam {
    pub n: u64,
    pub begin: u64,
    pub step: Address<u32>,
    pub segments: u64,
    pub ends: Address<u64>,
    pub decays: Address<f32>,
    pub params: Address<f32>,
    pub gradient: Address<f32>,
    /// Read and written.
    pub first: Address<f32>,
    /// Read and written.
    pub second: Address<f32>,
    /// Written.
    pub out: Address<f32>,
    /// Written.
    pub copy: Address<u16>,
}

impl Adam {
    pub const KERNEL: Kernel = Kernel {
        name: "adam",
        file: "update.cu",
        block: 256,
        elems_per_block: 1024,
        shared_bytes: 0,
        parameters: 12,
    };

    /// # Errors
    /// As [`Kernel::start`].
    pub fn launch(&self, device: &dyn Device) -> Result<(), DeviceError> {
        Kernel::start(
            &Self::KERNEL,
            device,
            self.n,
            &[
                Argument::U64(self.n),
                Argument::U64(self.begin),
                Argument::Address(self.step.value()),
                Argument::U64(self.segments),
                Argument::Address(self.ends.value()),
                Argument::Address(self.decays.value()),
                Argument::Address(self.params.value()),
                Argument::Address(self.gradient.value()),
                Argument::Address(self.first.value()),
                Argument::Address(self.second.value()),
                Argument::Address(self.out.value()),
                Argument::Address(self.copy.value()),
            ],
        )
    }
}

/// AdamW of elements `begin..begin + n` of an arena, into a second one; `copy`, if any, in bf16.
#[derive(Debug, Clone, Copy)]
pub struct Adamw {
    pub n: u64,
    pub begin: u64,
    pub step: Address<u32>,
    pub segments: u64,
    pub ends: Address<u64>,
    pub decays: Address<f32>,
    pub params: Address<f32>,
    pub gradient: Address<f32>,
    /// Read and written.
    pub first: Address<f32>,
    /// Read and written.
    pub second: Address<f32>,
    /// Written.
    pub out: Address<f32>,
    /// Written.
    pub copy: Address<u16>,
}

impl Adamw {
    pub const KERNEL: Kernel = Kernel {
        name: "adamw",
        file: "update.cu",
        block: 256,
        elems_per_block: 1024,
        shared_bytes: 0,
        parameters: 12,
    };

    /// # Errors
    /// As [`Kernel::start`].
    pub fn launch(&self, device: &dyn Device) -> Result<(), DeviceError> {
        Kernel::start(
            &Self::KERNEL,
            device,
            self.n,
            &[
                Argument::U64(self.n),
                Argument::U64(self.begin),
                Argument::Address(self.step.value()),
                Argument::U64(self.segments),
                Argument::Address(self.ends.value()),
                Argument::Address(self.decays.value()),
                Argument::Address(self.params.value()),
                Argument::Address(self.gradient.value()),
                Argument::Address(self.first.value()),
                Argument::Address(self.second.value()),
                Argument::Address(self.out.value()),
                Argument::Address(self.copy.value()),
            ],
        )
    }
}

/// Heavy-ball momentum of elements `begin..begin + n` of an arena, into a second one; `copy`, if any, in bf16. State in bf16.
#[derive(Debug, Clone, Copy)]
pub struct MomentumBf16 {
    pub n: u64,
    pub begin: u64,
    pub step: Address<u32>,
    pub segments: u64,
    pub ends: Address<u64>,
    pub decays: Address<f32>,
    pub params: Address<f32>,
    pub gradient: Address<f32>,
    /// Read and written.
    pub velocity: Address<u16>,
    /// Written.
    pub out: Address<f32>,
    /// Written.
    pub copy: Address<u16>,
}

impl MomentumBf16 {
    pub const KERNEL: Kernel = Kernel {
        name: "momentum_bf16",
        file: "update.cu",
        block: 256,
        elems_per_block: 1024,
        shared_bytes: 0,
        parameters: 11,
    };

    /// # Errors
    /// As [`Kernel::start`].
    pub fn launch(&self, device: &dyn Device) -> Result<(), DeviceError> {
        Kernel::start(
            &Self::KERNEL,
            device,
            self.n,
            &[
                Argument::U64(self.n),
                Argument::U64(self.begin),
                Argument::Address(self.step.value()),
                Argument::U64(self.segments),
                Argument::Address(self.ends.value()),
                Argument::Address(self.decays.value()),
                Argument::Address(self.params.value()),
                Argument::Address(self.gradient.value()),
                Argument::Address(self.velocity.value()),
                Argument::Address(self.out.value()),
                Argument::Address(self.copy.value()),
            ],
        )
    }
}

/// Nesterov's momentum of elements `begin..begin + n` of an arena, into a second one; `copy`, if any, in bf16. State in bf16.
#[derive(Debug, Clone, Copy)]
pub struct NesterovBf16 {
    pub n: u64,
    pub begin: u64,
    pub step: Address<u32>,
    pub segments: u64,
    pub ends: Address<u64>,
    pub decays: Address<f32>,
    pub params: Address<f32>,
    pub gradient: Address<f32>,
    /// Read and written.
    pub velocity: Address<u16>,
    /// Written.
    pub out: Address<f32>,
    /// Written.
    pub copy: Address<u16>,
}

impl NesterovBf16 {
    pub const KERNEL: Kernel = Kernel {
        name: "nesterov_bf16",
        file: "update.cu",
        block: 256,
        elems_per_block: 1024,
        shared_bytes: 0,
        parameters: 11,
    };

    /// # Errors
    /// As [`Kernel::start`].
    pub fn launch(&self, device: &dyn Device) -> Result<(), DeviceError> {
        Kernel::start(
            &Self::KERNEL,
            device,
            self.n,
            &[
                Argument::U64(self.n),
                Argument::U64(self.begin),
                Argument::Address(self.step.value()),
                Argument::U64(self.segments),
                Argument::Address(self.ends.value()),
                Argument::Address(self.decays.value()),
                Argument::Address(self.params.value()),
                Argument::Address(self.gradient.value()),
                Argument::Address(self.velocity.value()),
                Argument::Address(self.out.value()),
                Argument::Address(self.copy.value()),
            ],
        )
    }
}

/// Adam of elements `begin..begin + n` of an arena, into a second one; `copy`, if any, in bf16. State in bf16.
#[derive(Debug, Clone, Copy)]
pub struct AdamBf16 {
    pub n: u64,
    pub begin: u64,
    pub step: Address<u32>,
    pub segments: u64,
    pub ends: Address<u64>,
    pub decays: Address<f32>,
    pub params: Address<f32>,
    pub gradient: Address<f32>,
    /// Read and written.
    pub first: Address<u16>,
    /// Read and written.
    pub second: Address<u16>,
    /// Written.
    pub out: Address<f32>,
    /// Written.
    pub copy: Address<u16>,
}

impl AdamBf16 {
    pub const KERNEL: Kernel = Kernel {
        name: "adam_bf16",
        file: "update.cu",
        block: 256,
        elems_per_block: 1024,
        shared_bytes: 0,
        parameters: 12,
    };

    /// # Errors
    /// As [`Kernel::start`].
    pub fn launch(&self, device: &dyn Device) -> Result<(), DeviceError> {
        Kernel::start(
            &Self::KERNEL,
            device,
            self.n,
            &[
                Argument::U64(self.n),
                Argument::U64(self.begin),
                Argument::Address(self.step.value()),
                Argument::U64(self.segments),
                Argument::Address(self.ends.value()),
                Argument::Address(self.decays.value()),
                Argument::Address(self.params.value()),
                Argument::Address(self.gradient.value()),
                Argument::Address(self.first.value()),
                Argument::Address(self.second.value()),
                Argument::Address(self.out.value()),
                Argument::Address(self.copy.value()),
            ],
        )
    }
}

/// AdamW of elements `begin..begin + n` of an arena, into a second one; `copy`, if any, in bf16. State in bf16.
#[derive(Debug, Clone, Copy)]
pub struct AdamwBf16 {
    pub n: u64,
    pub begin: u64,
    pub step: Address<u32>,
    pub segments: u64,
    pub ends: Address<u64>,
    pub decays: Address<f32>,
    pub params: Address<f32>,
    pub gradient: Address<f32>,
    /// Read and written.
    pub first: Address<u16>,
    /// Read and written.
    pub second: Address<u16>,
    /// Written.
    pub out: Address<f32>,
    /// Written.
    pub copy: Address<u16>,
}

impl AdamwBf16 {
    pub const KERNEL: Kernel = Kernel {
        name: "adamw_bf16",
        file: "update.cu",
        block: 256,
        elems_per_block: 1024,
        shared_bytes: 0,
        parameters: 12,
    };

    /// # Errors
    /// As [`Kernel::start`].
    pub fn launch(&self, device: &dyn Device) -> Result<(), DeviceError> {
        Kernel::start(
            &Self::KERNEL,
            device,
            self.n,
            &[
                Argument::U64(self.n),
                Argument::U64(self.begin),
                Argument::Address(self.step.value()),
                Argument::U64(self.segments),
                Argument::Address(self.ends.value()),
                Argument::Address(self.decays.value()),
                Argument::Address(self.params.value()),
                Argument::Address(self.gradient.value()),
                Argument::Address(self.first.value()),
                Argument::Address(self.second.value()),
                Argument::Address(self.out.value()),
                Argument::Address(self.copy.value()),
            ],
        )
    }
}

/// Outer step of local training: momentum on the mean of `change`; anchor and parameters become the same.
#[derive(Debug, Clone, Copy)]
pub struct OuterNesterov {
    pub n: u64,
    pub begin: u64,
    pub step: Address<u32>,
    pub change: Address<f32>,
    /// Read and written.
    pub anchor: Address<f32>,
    /// Read and written.
    pub velocity: Address<f32>,
    /// Written.
    pub params: Address<f32>,
}

impl OuterNesterov {
    pub const KERNEL: Kernel = Kernel {
        name: "outer_nesterov",
        file: "outer.cu",
        block: 256,
        elems_per_block: 1024,
        shared_bytes: 0,
        parameters: 7,
    };

    /// # Errors
    /// As [`Kernel::start`].
    pub fn launch(&self, device: &dyn Device) -> Result<(), DeviceError> {
        Kernel::start(
            &Self::KERNEL,
            device,
            self.n,
            &[
                Argument::U64(self.n),
                Argument::U64(self.begin),
                Argument::Address(self.step.value()),
                Argument::Address(self.change.value()),
                Argument::Address(self.anchor.value()),
                Argument::Address(self.velocity.value()),
                Argument::Address(self.params.value()),
            ],
        )
    }
}

/// Sum of squares of each of `n` chunks of `elems` values; here an element is a chunk.
#[derive(Debug, Clone, Copy)]
pub struct NormPartials {
    pub n: u64,
    pub elems: u64,
    pub chunk_elems: u64,
    pub values: Address<f32>,
    /// Written.
    pub partials: Address<f64>,
}

impl NormPartials {
    pub const KERNEL: Kernel = Kernel {
        name: "norm_partials",
        file: "norm.cu",
        block: 64,
        elems_per_block: 8,
        shared_bytes: 0,
        parameters: 5,
    };

    /// # Errors
    /// As [`Kernel::start`].
    pub fn launch(&self, device: &dyn Device) -> Result<(), DeviceError> {
        Kernel::start(
            &Self::KERNEL,
            device,
            self.n,
            &[
                Argument::U64(self.n),
                Argument::U64(self.elems),
                Argument::U64(self.chunk_elems),
                Argument::Address(self.values.value()),
                Argument::Address(self.partials.value()),
            ],
        )
    }
}

/// Norm of the mean gradient from `n` partials and `global` (weight, limit); gradient scale and skip flag into `step`.
#[derive(Debug, Clone, Copy)]
pub struct Clip {
    pub n: u64,
    pub partials: Address<f64>,
    pub global: Address<f64>,
    /// Written.
    pub norm: Address<f64>,
    /// Read and written.
    pub step: Address<u32>,
}

impl Clip {
    pub const KERNEL: Kernel = Kernel {
        name: "clip",
        file: "norm.cu",
        block: 256,
        elems_per_block: 0,
        shared_bytes: 0,
        parameters: 5,
    };

    /// # Errors
    /// As [`Kernel::start`].
    pub fn launch(&self, device: &dyn Device) -> Result<(), DeviceError> {
        Kernel::start(
            &Self::KERNEL,
            device,
            self.n,
            &[
                Argument::U64(self.n),
                Argument::Address(self.partials.value()),
                Argument::Address(self.global.value()),
                Argument::Address(self.norm.value()),
                Argument::Address(self.step.value()),
            ],
        )
    }
}

/// Adds the checksum of elements `begin..begin + n` of an arena to `sum`.
#[derive(Debug, Clone, Copy)]
pub struct Digest {
    pub n: u64,
    pub begin: u64,
    pub values: Address<f32>,
    /// Read and written.
    pub sum: Address<u64>,
}

impl Digest {
    pub const KERNEL: Kernel = Kernel {
        name: "digest",
        file: "digest.cu",
        block: 256,
        elems_per_block: 4096,
        shared_bytes: 0,
        parameters: 4,
    };

    /// # Errors
    /// As [`Kernel::start`].
    pub fn launch(&self, device: &dyn Device) -> Result<(), DeviceError> {
        Kernel::start(
            &Self::KERNEL,
            device,
            self.n,
            &[
                Argument::U64(self.n),
                Argument::U64(self.begin),
                Argument::Address(self.values.value()),
                Argument::Address(self.sum.value()),
            ],
        )
    }
}

/// Elements `begin..begin + n` as bf16; `residual`, if any, is sent along and becomes what is lost; `decoded`, if any, is what receivers decode.
#[derive(Debug, Clone, Copy)]
pub struct PackBf16 {
    pub n: u64,
    pub begin: u64,
    pub stochastic: u32,
    pub stream: u64,
    pub values: Address<f32>,
    /// Read and written.
    pub residual: Address<f32>,
    /// Written.
    pub payload: Address<u16>,
    /// Written.
    pub decoded: Address<f32>,
}

impl PackBf16 {
    pub const KERNEL: Kernel = Kernel {
        name: "pack_bf16",
        file: "codec.cu",
        block: 256,
        elems_per_block: 1024,
        shared_bytes: 0,
        parameters: 8,
    };

    /// # Errors
    /// As [`Kernel::start`].
    pub fn launch(&self, device: &dyn Device) -> Result<(), DeviceError> {
        Kernel::start(
            &Self::KERNEL,
            device,
            self.n,
            &[
                Argument::U64(self.n),
                Argument::U64(self.begin),
                Argument::U32(self.stochastic),
                Argument::U64(self.stream),
                Argument::Address(self.values.value()),
                Argument::Address(self.residual.value()),
                Argument::Address(self.payload.value()),
                Argument::Address(self.decoded.value()),
            ],
        )
    }
}

/// Elements `begin..begin + n` as half precision; `residual`, if any, is sent along and becomes what is lost; `decoded`, if any, is what receivers decode.
#[derive(Debug, Clone, Copy)]
pub struct PackF16 {
    pub n: u64,
    pub begin: u64,
    pub stochastic: u32,
    pub stream: u64,
    pub values: Address<f32>,
    /// Read and written.
    pub residual: Address<f32>,
    /// Written.
    pub payload: Address<u16>,
    /// Written.
    pub decoded: Address<f32>,
}

impl PackF16 {
    pub const KERNEL: Kernel = Kernel {
        name: "pack_f16",
        file: "codec.cu",
        block: 256,
        elems_per_block: 1024,
        shared_bytes: 0,
        parameters: 8,
    };

    /// # Errors
    /// As [`Kernel::start`].
    pub fn launch(&self, device: &dyn Device) -> Result<(), DeviceError> {
        Kernel::start(
            &Self::KERNEL,
            device,
            self.n,
            &[
                Argument::U64(self.n),
                Argument::U64(self.begin),
                Argument::U32(self.stochastic),
                Argument::U64(self.stream),
                Argument::Address(self.values.value()),
                Argument::Address(self.residual.value()),
                Argument::Address(self.payload.value()),
                Argument::Address(self.decoded.value()),
            ],
        )
    }
}

/// Elements `begin..begin + n` as blocks of 8-bit integers; `residual`, if any, is sent along and becomes what is lost; `decoded`, if any, is what receivers decode.
#[derive(Debug, Clone, Copy)]
pub struct PackInt8 {
    pub n: u64,
    pub begin: u64,
    pub stochastic: u32,
    pub stream: u64,
    pub values: Address<f32>,
    /// Read and written.
    pub residual: Address<f32>,
    /// Written.
    pub payload: Address<u8>,
    /// Written.
    pub decoded: Address<f32>,
}

impl PackInt8 {
    pub const KERNEL: Kernel = Kernel {
        name: "pack_int8",
        file: "codec.cu",
        block: 256,
        elems_per_block: 2048,
        shared_bytes: 0,
        parameters: 8,
    };

    /// # Errors
    /// As [`Kernel::start`].
    pub fn launch(&self, device: &dyn Device) -> Result<(), DeviceError> {
        Kernel::start(
            &Self::KERNEL,
            device,
            self.n,
            &[
                Argument::U64(self.n),
                Argument::U64(self.begin),
                Argument::U32(self.stochastic),
                Argument::U64(self.stream),
                Argument::Address(self.values.value()),
                Argument::Address(self.residual.value()),
                Argument::Address(self.payload.value()),
                Argument::Address(self.decoded.value()),
            ],
        )
    }
}

/// Elements `begin..begin + n` as blocks of 4-bit integers; `residual`, if any, is sent along and becomes what is lost; `decoded`, if any, is what receivers decode.
#[derive(Debug, Clone, Copy)]
pub struct PackInt4 {
    pub n: u64,
    pub begin: u64,
    pub stochastic: u32,
    pub stream: u64,
    pub values: Address<f32>,
    /// Read and written.
    pub residual: Address<f32>,
    /// Written.
    pub payload: Address<u8>,
    /// Written.
    pub decoded: Address<f32>,
}

impl PackInt4 {
    pub const KERNEL: Kernel = Kernel {
        name: "pack_int4",
        file: "codec.cu",
        block: 256,
        elems_per_block: 1024,
        shared_bytes: 0,
        parameters: 8,
    };

    /// # Errors
    /// As [`Kernel::start`].
    pub fn launch(&self, device: &dyn Device) -> Result<(), DeviceError> {
        Kernel::start(
            &Self::KERNEL,
            device,
            self.n,
            &[
                Argument::U64(self.n),
                Argument::U64(self.begin),
                Argument::U32(self.stochastic),
                Argument::U64(self.stream),
                Argument::Address(self.values.value()),
                Argument::Address(self.residual.value()),
                Argument::Address(self.payload.value()),
                Argument::Address(self.decoded.value()),
            ],
        )
    }
}

/// Elements `begin..begin + n` from bf16.
#[derive(Debug, Clone, Copy)]
pub struct UnpackBf16 {
    pub n: u64,
    pub begin: u64,
    pub payload: Address<u16>,
    /// Written.
    pub values: Address<f32>,
}

impl UnpackBf16 {
    pub const KERNEL: Kernel = Kernel {
        name: "unpack_bf16",
        file: "codec.cu",
        block: 256,
        elems_per_block: 1024,
        shared_bytes: 0,
        parameters: 4,
    };

    /// # Errors
    /// As [`Kernel::start`].
    pub fn launch(&self, device: &dyn Device) -> Result<(), DeviceError> {
        Kernel::start(
            &Self::KERNEL,
            device,
            self.n,
            &[
                Argument::U64(self.n),
                Argument::U64(self.begin),
                Argument::Address(self.payload.value()),
                Argument::Address(self.values.value()),
            ],
        )
    }
}

/// Elements `begin..begin + n` from half precision.
#[derive(Debug, Clone, Copy)]
pub struct UnpackF16 {
    pub n: u64,
    pub begin: u64,
    pub payload: Address<u16>,
    /// Written.
    pub values: Address<f32>,
}

impl UnpackF16 {
    pub const KERNEL: Kernel = Kernel {
        name: "unpack_f16",
        file: "codec.cu",
        block: 256,
        elems_per_block: 1024,
        shared_bytes: 0,
        parameters: 4,
    };

    /// # Errors
    /// As [`Kernel::start`].
    pub fn launch(&self, device: &dyn Device) -> Result<(), DeviceError> {
        Kernel::start(
            &Self::KERNEL,
            device,
            self.n,
            &[
                Argument::U64(self.n),
                Argument::U64(self.begin),
                Argument::Address(self.payload.value()),
                Argument::Address(self.values.value()),
            ],
        )
    }
}

/// Elements `begin..begin + n` from blocks of 8-bit integers.
#[derive(Debug, Clone, Copy)]
pub struct UnpackInt8 {
    pub n: u64,
    pub begin: u64,
    pub payload: Address<u8>,
    /// Written.
    pub values: Address<f32>,
}

impl UnpackInt8 {
    pub const KERNEL: Kernel = Kernel {
        name: "unpack_int8",
        file: "codec.cu",
        block: 256,
        elems_per_block: 1024,
        shared_bytes: 0,
        parameters: 4,
    };

    /// # Errors
    /// As [`Kernel::start`].
    pub fn launch(&self, device: &dyn Device) -> Result<(), DeviceError> {
        Kernel::start(
            &Self::KERNEL,
            device,
            self.n,
            &[
                Argument::U64(self.n),
                Argument::U64(self.begin),
                Argument::Address(self.payload.value()),
                Argument::Address(self.values.value()),
            ],
        )
    }
}

/// Elements `begin..begin + n` from blocks of 4-bit integers.
#[derive(Debug, Clone, Copy)]
pub struct UnpackInt4 {
    pub n: u64,
    pub begin: u64,
    pub payload: Address<u8>,
    /// Written.
    pub values: Address<f32>,
}

impl UnpackInt4 {
    pub const KERNEL: Kernel = Kernel {
        name: "unpack_int4",
        file: "codec.cu",
        block: 256,
        elems_per_block: 1024,
        shared_bytes: 0,
        parameters: 4,
    };

    /// # Errors
    /// As [`Kernel::start`].
    pub fn launch(&self, device: &dyn Device) -> Result<(), DeviceError> {
        Kernel::start(
            &Self::KERNEL,
            device,
            self.n,
            &[
                Argument::U64(self.n),
                Argument::U64(self.begin),
                Argument::Address(self.payload.value()),
                Argument::Address(self.values.value()),
            ],
        )
    }
}

/// Adds a payload of bf16 to elements `begin..begin + n`.
#[derive(Debug, Clone, Copy)]
pub struct AccumulateBf16 {
    pub n: u64,
    pub begin: u64,
    pub payload: Address<u16>,
    /// Read and written.
    pub values: Address<f32>,
}

impl AccumulateBf16 {
    pub const KERNEL: Kernel = Kernel {
        name: "accumulate_bf16",
        file: "codec.cu",
        block: 256,
        elems_per_block: 1024,
        shared_bytes: 0,
        parameters: 4,
    };

    /// # Errors
    /// As [`Kernel::start`].
    pub fn launch(&self, device: &dyn Device) -> Result<(), DeviceError> {
        Kernel::start(
            &Self::KERNEL,
            device,
            self.n,
            &[
                Argument::U64(self.n),
                Argument::U64(self.begin),
                Argument::Address(self.payload.value()),
                Argument::Address(self.values.value()),
            ],
        )
    }
}

/// Adds a payload of half precision to elements `begin..begin + n`.
#[derive(Debug, Clone, Copy)]
pub struct AccumulateF16 {
    pub n: u64,
    pub begin: u64,
    pub payload: Address<u16>,
    /// Read and written.
    pub values: Address<f32>,
}

impl AccumulateF16 {
    pub const KERNEL: Kernel = Kernel {
        name: "accumulate_f16",
        file: "codec.cu",
        block: 256,
        elems_per_block: 1024,
        shared_bytes: 0,
        parameters: 4,
    };

    /// # Errors
    /// As [`Kernel::start`].
    pub fn launch(&self, device: &dyn Device) -> Result<(), DeviceError> {
        Kernel::start(
            &Self::KERNEL,
            device,
            self.n,
            &[
                Argument::U64(self.n),
                Argument::U64(self.begin),
                Argument::Address(self.payload.value()),
                Argument::Address(self.values.value()),
            ],
        )
    }
}

/// Adds a payload of blocks of 8-bit integers to elements `begin..begin + n`.
#[derive(Debug, Clone, Copy)]
pub struct AccumulateInt8 {
    pub n: u64,
    pub begin: u64,
    pub payload: Address<u8>,
    /// Read and written.
    pub values: Address<f32>,
}

impl AccumulateInt8 {
    pub const KERNEL: Kernel = Kernel {
        name: "accumulate_int8",
        file: "codec.cu",
        block: 256,
        elems_per_block: 1024,
        shared_bytes: 0,
        parameters: 4,
    };

    /// # Errors
    /// As [`Kernel::start`].
    pub fn launch(&self, device: &dyn Device) -> Result<(), DeviceError> {
        Kernel::start(
            &Self::KERNEL,
            device,
            self.n,
            &[
                Argument::U64(self.n),
                Argument::U64(self.begin),
                Argument::Address(self.payload.value()),
                Argument::Address(self.values.value()),
            ],
        )
    }
}

/// Adds a payload of blocks of 4-bit integers to elements `begin..begin + n`.
#[derive(Debug, Clone, Copy)]
pub struct AccumulateInt4 {
    pub n: u64,
    pub begin: u64,
    pub payload: Address<u8>,
    /// Read and written.
    pub values: Address<f32>,
}

impl AccumulateInt4 {
    pub const KERNEL: Kernel = Kernel {
        name: "accumulate_int4",
        file: "codec.cu",
        block: 256,
        elems_per_block: 1024,
        shared_bytes: 0,
        parameters: 4,
    };

    /// # Errors
    /// As [`Kernel::start`].
    pub fn launch(&self, device: &dyn Device) -> Result<(), DeviceError> {
        Kernel::start(
            &Self::KERNEL,
            device,
            self.n,
            &[
                Argument::U64(self.n),
                Argument::U64(self.begin),
                Argument::Address(self.payload.value()),
                Argument::Address(self.values.value()),
            ],
        )
    }
}

/// Adds payloads of f32, `stride` words apart, in rank order with `own`, if any, as number `own_at`; then divides.
#[derive(Debug, Clone, Copy)]
pub struct ReduceF32 {
    pub n: u64,
    pub begin: u64,
    pub payloads: u32,
    pub stride: u64,
    pub payload: Address<f32>,
    pub own: Address<f32>,
    pub own_at: u32,
    pub divisor: f32,
    /// Written.
    pub out: Address<f32>,
}

impl ReduceF32 {
    pub const KERNEL: Kernel = Kernel {
        name: "reduce_f32",
        file: "codec.cu",
        block: 256,
        elems_per_block: 1024,
        shared_bytes: 0,
        parameters: 9,
    };

    /// # Errors
    /// As [`Kernel::start`].
    pub fn launch(&self, device: &dyn Device) -> Result<(), DeviceError> {
        Kernel::start(
            &Self::KERNEL,
            device,
            self.n,
            &[
                Argument::U64(self.n),
                Argument::U64(self.begin),
                Argument::U32(self.payloads),
                Argument::U64(self.stride),
                Argument::Address(self.payload.value()),
                Argument::Address(self.own.value()),
                Argument::U32(self.own_at),
                Argument::F32(self.divisor),
                Argument::Address(self.out.value()),
            ],
        )
    }
}

/// Adds payloads of bf16, `stride` words apart, in rank order with `own`, if any, as number `own_at`; then divides.
#[derive(Debug, Clone, Copy)]
pub struct ReduceBf16 {
    pub n: u64,
    pub begin: u64,
    pub payloads: u32,
    pub stride: u64,
    pub payload: Address<u16>,
    pub own: Address<f32>,
    pub own_at: u32,
    pub divisor: f32,
    /// Written.
    pub out: Address<f32>,
}

impl ReduceBf16 {
    pub const KERNEL: Kernel = Kernel {
        name: "reduce_bf16",
        file: "codec.cu",
        block: 256,
        elems_per_block: 1024,
        shared_bytes: 0,
        parameters: 9,
    };

    /// # Errors
    /// As [`Kernel::start`].
    pub fn launch(&self, device: &dyn Device) -> Result<(), DeviceError> {
        Kernel::start(
            &Self::KERNEL,
            device,
            self.n,
            &[
                Argument::U64(self.n),
                Argument::U64(self.begin),
                Argument::U32(self.payloads),
                Argument::U64(self.stride),
                Argument::Address(self.payload.value()),
                Argument::Address(self.own.value()),
                Argument::U32(self.own_at),
                Argument::F32(self.divisor),
                Argument::Address(self.out.value()),
            ],
        )
    }
}

/// Adds payloads of half precision, `stride` words apart, in rank order with `own`, if any, as number `own_at`; then divides.
#[derive(Debug, Clone, Copy)]
pub struct ReduceF16 {
    pub n: u64,
    pub begin: u64,
    pub payloads: u32,
    pub stride: u64,
    pub payload: Address<u16>,
    pub own: Address<f32>,
    pub own_at: u32,
    pub divisor: f32,
    /// Written.
    pub out: Address<f32>,
}

impl ReduceF16 {
    pub const KERNEL: Kernel = Kernel {
        name: "reduce_f16",
        file: "codec.cu",
        block: 256,
        elems_per_block: 1024,
        shared_bytes: 0,
        parameters: 9,
    };

    /// # Errors
    /// As [`Kernel::start`].
    pub fn launch(&self, device: &dyn Device) -> Result<(), DeviceError> {
        Kernel::start(
            &Self::KERNEL,
            device,
            self.n,
            &[
                Argument::U64(self.n),
                Argument::U64(self.begin),
                Argument::U32(self.payloads),
                Argument::U64(self.stride),
                Argument::Address(self.payload.value()),
                Argument::Address(self.own.value()),
                Argument::U32(self.own_at),
                Argument::F32(self.divisor),
                Argument::Address(self.out.value()),
            ],
        )
    }
}

/// Adds payloads of blocks of 8-bit integers, `stride` words apart, in rank order with `own`, if any, as number `own_at`; then divides.
#[derive(Debug, Clone, Copy)]
pub struct ReduceInt8 {
    pub n: u64,
    pub begin: u64,
    pub payloads: u32,
    pub stride: u64,
    pub payload: Address<u8>,
    pub own: Address<f32>,
    pub own_at: u32,
    pub divisor: f32,
    /// Written.
    pub out: Address<f32>,
}

impl ReduceInt8 {
    pub const KERNEL: Kernel = Kernel {
        name: "reduce_int8",
        file: "codec.cu",
        block: 256,
        elems_per_block: 1024,
        shared_bytes: 0,
        parameters: 9,
    };

    /// # Errors
    /// As [`Kernel::start`].
    pub fn launch(&self, device: &dyn Device) -> Result<(), DeviceError> {
        Kernel::start(
            &Self::KERNEL,
            device,
            self.n,
            &[
                Argument::U64(self.n),
                Argument::U64(self.begin),
                Argument::U32(self.payloads),
                Argument::U64(self.stride),
                Argument::Address(self.payload.value()),
                Argument::Address(self.own.value()),
                Argument::U32(self.own_at),
                Argument::F32(self.divisor),
                Argument::Address(self.out.value()),
            ],
        )
    }
}

/// Adds payloads of blocks of 4-bit integers, `stride` words apart, in rank order with `own`, if any, as number `own_at`; then divides.
#[derive(Debug, Clone, Copy)]
pub struct ReduceInt4 {
    pub n: u64,
    pub begin: u64,
    pub payloads: u32,
    pub stride: u64,
    pub payload: Address<u8>,
    pub own: Address<f32>,
    pub own_at: u32,
    pub divisor: f32,
    /// Written.
    pub out: Address<f32>,
}

impl ReduceInt4 {
    pub const KERNEL: Kernel = Kernel {
        name: "reduce_int4",
        file: "codec.cu",
        block: 256,
        elems_per_block: 1024,
        shared_bytes: 0,
        parameters: 9,
    };

    /// # Errors
    /// As [`Kernel::start`].
    pub fn launch(&self, device: &dyn Device) -> Result<(), DeviceError> {
        Kernel::start(
            &Self::KERNEL,
            device,
            self.n,
            &[
                Argument::U64(self.n),
                Argument::U64(self.begin),
                Argument::U32(self.payloads),
                Argument::U64(self.stride),
                Argument::Address(self.payload.value()),
                Argument::Address(self.own.value()),
                Argument::U32(self.own_at),
                Argument::F32(self.divisor),
                Argument::Address(self.out.value()),
            ],
        )
    }
}

/// Counts a digit of the magnitudes of which the digits before are known; adds `values`, if any, first.
#[derive(Debug, Clone, Copy)]
pub struct TopKHistogram {
    pub n: u64,
    pub begin: u64,
    pub digit: u32,
    pub state: Address<u64>,
    pub values: Address<f32>,
    /// Read and written.
    pub wanted: Address<f32>,
    /// Read and written.
    pub histogram: Address<u64>,
}

impl TopKHistogram {
    pub const KERNEL: Kernel = Kernel {
        name: "top_k_histogram",
        file: "select.cu",
        block: 256,
        elems_per_block: 8192,
        shared_bytes: 0,
        parameters: 7,
    };

    /// # Errors
    /// As [`Kernel::start`].
    pub fn launch(&self, device: &dyn Device) -> Result<(), DeviceError> {
        Kernel::start(
            &Self::KERNEL,
            device,
            self.n,
            &[
                Argument::U64(self.n),
                Argument::U64(self.begin),
                Argument::U32(self.digit),
                Argument::Address(self.state.value()),
                Argument::Address(self.values.value()),
                Argument::Address(self.wanted.value()),
                Argument::Address(self.histogram.value()),
            ],
        )
    }
}

/// The next digit of the threshold, from a histogram that it clears; `n` is 2,048, then 1,024.
#[derive(Debug, Clone, Copy)]
pub struct TopKDigit {
    pub n: u64,
    pub digit: u32,
    /// Read and written.
    pub state: Address<u64>,
    /// Read and written.
    pub histogram: Address<u64>,
}

impl TopKDigit {
    pub const KERNEL: Kernel = Kernel {
        name: "top_k_digit",
        file: "select.cu",
        block: 256,
        elems_per_block: 0,
        shared_bytes: 0,
        parameters: 4,
    };

    /// # Errors
    /// As [`Kernel::start`].
    pub fn launch(&self, device: &dyn Device) -> Result<(), DeviceError> {
        Kernel::start(
            &Self::KERNEL,
            device,
            self.n,
            &[
                Argument::U64(self.n),
                Argument::U32(self.digit),
                Argument::Address(self.state.value()),
                Argument::Address(self.histogram.value()),
            ],
        )
    }
}

/// How many values of each part of 2,048 are above the threshold, and how many at it.
#[derive(Debug, Clone, Copy)]
pub struct TopKCount {
    pub n: u64,
    pub begin: u64,
    pub state: Address<u64>,
    pub wanted: Address<f32>,
    /// Written.
    pub counts: Address<u64>,
}

impl TopKCount {
    pub const KERNEL: Kernel = Kernel {
        name: "top_k_count",
        file: "select.cu",
        block: 256,
        elems_per_block: 2048,
        shared_bytes: 0,
        parameters: 5,
    };

    /// # Errors
    /// As [`Kernel::start`].
    pub fn launch(&self, device: &dyn Device) -> Result<(), DeviceError> {
        Kernel::start(
            &Self::KERNEL,
            device,
            self.n,
            &[
                Argument::U64(self.n),
                Argument::U64(self.begin),
                Argument::Address(self.state.value()),
                Argument::Address(self.wanted.value()),
                Argument::Address(self.counts.value()),
            ],
        )
    }
}

/// Turns the counts of `n` parts into the counts of all parts before them.
#[derive(Debug, Clone, Copy)]
pub struct TopKOffsets {
    pub n: u64,
    /// Read and written.
    pub counts: Address<u64>,
}

impl TopKOffsets {
    pub const KERNEL: Kernel = Kernel {
        name: "top_k_offsets",
        file: "select.cu",
        block: 256,
        elems_per_block: 0,
        shared_bytes: 0,
        parameters: 2,
    };

    /// # Errors
    /// As [`Kernel::start`].
    pub fn launch(&self, device: &dyn Device) -> Result<(), DeviceError> {
        Kernel::start(
            &Self::KERNEL,
            device,
            self.n,
            &[Argument::U64(self.n), Argument::Address(self.counts.value())],
        )
    }
}

/// Indices and values of what is chosen, in order; `residual`, if any, becomes what is not.
#[derive(Debug, Clone, Copy)]
pub struct TopKWrite {
    pub n: u64,
    pub begin: u64,
    pub state: Address<u64>,
    pub counts: Address<u64>,
    pub wanted: Address<f32>,
    /// Written.
    pub indices: Address<u64>,
    /// Written.
    pub chosen: Address<f32>,
    /// Written.
    pub residual: Address<f32>,
}

impl TopKWrite {
    pub const KERNEL: Kernel = Kernel {
        name: "top_k_write",
        file: "select.cu",
        block: 256,
        elems_per_block: 2048,
        shared_bytes: 0,
        parameters: 8,
    };

    /// # Errors
    /// As [`Kernel::start`].
    pub fn launch(&self, device: &dyn Device) -> Result<(), DeviceError> {
        Kernel::start(
            &Self::KERNEL,
            device,
            self.n,
            &[
                Argument::U64(self.n),
                Argument::U64(self.begin),
                Argument::Address(self.state.value()),
                Argument::Address(self.counts.value()),
                Argument::Address(self.wanted.value()),
                Argument::Address(self.indices.value()),
                Argument::Address(self.chosen.value()),
                Argument::Address(self.residual.value()),
            ],
        )
    }
}

/// Adds `n` chosen values where they belong.
#[derive(Debug, Clone, Copy)]
pub struct TopKAdd {
    pub n: u64,
    pub indices: Address<u64>,
    pub chosen: Address<f32>,
    /// Read and written.
    pub values: Address<f32>,
}

impl TopKAdd {
    pub const KERNEL: Kernel = Kernel {
        name: "top_k_add",
        file: "select.cu",
        block: 256,
        elems_per_block: 256,
        shared_bytes: 0,
        parameters: 4,
    };

    /// # Errors
    /// As [`Kernel::start`].
    pub fn launch(&self, device: &dyn Device) -> Result<(), DeviceError> {
        Kernel::start(
            &Self::KERNEL,
            device,
            self.n,
            &[
                Argument::U64(self.n),
                Argument::Address(self.indices.value()),
                Argument::Address(self.chosen.value()),
                Argument::Address(self.values.value()),
            ],
        )
    }
}

/// Sums of squares of parts of 4,096 columns of each row; `n` is rows times parts.
#[derive(Debug, Clone, Copy)]
pub struct ClipPartials {
    pub n: u64,
    pub begin: u64,
    pub columns: u64,
    pub pitch: u64,
    pub partials_pitch: u64,
    pub rows: Address<f32>,
    /// Written.
    pub partials: Address<f64>,
}

impl ClipPartials {
    pub const KERNEL: Kernel = Kernel {
        name: "clip_partials",
        file: "privacy.cu",
        block: 256,
        elems_per_block: 1,
        shared_bytes: 0,
        parameters: 7,
    };

    /// # Errors
    /// As [`Kernel::start`].
    pub fn launch(&self, device: &dyn Device) -> Result<(), DeviceError> {
        Kernel::start(
            &Self::KERNEL,
            device,
            self.n,
            &[
                Argument::U64(self.n),
                Argument::U64(self.begin),
                Argument::U64(self.columns),
                Argument::U64(self.pitch),
                Argument::U64(self.partials_pitch),
                Argument::Address(self.rows.value()),
                Argument::Address(self.partials.value()),
            ],
        )
    }
}

/// What scales each of `n` rows to a norm of at most `bound`; 0 for a row that is not finite.
#[derive(Debug, Clone, Copy)]
pub struct ClipFactors {
    pub n: u64,
    pub parts: u64,
    pub bound: f32,
    pub partials: Address<f64>,
    /// Written.
    pub factors: Address<f32>,
}

impl ClipFactors {
    pub const KERNEL: Kernel = Kernel {
        name: "clip_factors",
        file: "privacy.cu",
        block: 256,
        elems_per_block: 256,
        shared_bytes: 0,
        parameters: 5,
    };

    /// # Errors
    /// As [`Kernel::start`].
    pub fn launch(&self, device: &dyn Device) -> Result<(), DeviceError> {
        Kernel::start(
            &Self::KERNEL,
            device,
            self.n,
            &[
                Argument::U64(self.n),
                Argument::U64(self.parts),
                Argument::F32(self.bound),
                Argument::Address(self.partials.value()),
                Argument::Address(self.factors.value()),
            ],
        )
    }
}

/// The sum of rows times their factors, in order, and Gaussian noise of deviation `sigma` keyed on seed, step and column.
#[derive(Debug, Clone, Copy)]
pub struct ClippedSum {
    pub n: u64,
    pub begin: u64,
    pub rows: u64,
    pub pitch: u64,
    pub values: Address<f32>,
    pub factors: Address<f32>,
    pub seed: u64,
    pub step: u64,
    pub sigma: f32,
    /// Written.
    pub out: Address<f32>,
}

impl ClippedSum {
    pub const KERNEL: Kernel = Kernel {
        name: "clipped_sum",
        file: "privacy.cu",
        block: 256,
        elems_per_block: 1024,
        shared_bytes: 0,
        parameters: 10,
    };

    /// # Errors
    /// As [`Kernel::start`].
    pub fn launch(&self, device: &dyn Device) -> Result<(), DeviceError> {
        Kernel::start(
            &Self::KERNEL,
            device,
            self.n,
            &[
                Argument::U64(self.n),
                Argument::U64(self.begin),
                Argument::U64(self.rows),
                Argument::U64(self.pitch),
                Argument::Address(self.values.value()),
                Argument::Address(self.factors.value()),
                Argument::U64(self.seed),
                Argument::U64(self.step),
                Argument::F32(self.sigma),
                Argument::Address(self.out.value()),
            ],
        )
    }
}

/// Normalises `n` rows; with `addend` their sum, which `sum` takes. `moments [n, 2]`: mean and reciprocal deviation.
#[derive(Debug, Clone, Copy)]
pub struct LayerNorm {
    pub n: u64,
    pub width: u64,
    pub x: Address<u16>,
    pub addend: Address<u16>,
    pub weight: Address<f32>,
    pub bias: Address<f32>,
    /// Written.
    pub sum: Address<u16>,
    /// Written.
    pub y: Address<u16>,
    /// Written.
    pub moments: Address<f32>,
}

impl LayerNorm {
    pub const KERNEL: Kernel = Kernel {
        name: "layer_norm",
        file: "rows.cu",
        block: 256,
        elems_per_block: 8,
        shared_bytes: 0,
        parameters: 9,
    };

    /// # Errors
    /// As [`Kernel::start`].
    pub fn launch(&self, device: &dyn Device) -> Result<(), DeviceError> {
        Kernel::start(
            &Self::KERNEL,
            device,
            self.n,
            &[
                Argument::U64(self.n),
                Argument::U64(self.width),
                Argument::Address(self.x.value()),
                Argument::Address(self.addend.value()),
                Argument::Address(self.weight.value()),
                Argument::Address(self.bias.value()),
                Argument::Address(self.sum.value()),
                Argument::Address(self.y.value()),
                Argument::Address(self.moments.value()),
            ],
        )
    }
}

/// Gradient of the rows of `layer_norm`, stored, or added with `add`.
#[derive(Debug, Clone, Copy)]
pub struct LayerNormBackward {
    pub n: u64,
    pub width: u64,
    pub add: u32,
    pub x: Address<u16>,
    pub weight: Address<f32>,
    pub moments: Address<f32>,
    pub dy: Address<u16>,
    /// Read and written.
    pub dx: Address<u16>,
}

impl LayerNormBackward {
    pub const KERNEL: Kernel = Kernel {
        name: "layer_norm_backward",
        file: "rows.cu",
        block: 256,
        elems_per_block: 8,
        shared_bytes: 0,
        parameters: 8,
    };

    /// # Errors
    /// As [`Kernel::start`].
    pub fn launch(&self, device: &dyn Device) -> Result<(), DeviceError> {
        Kernel::start(
            &Self::KERNEL,
            device,
            self.n,
            &[
                Argument::U64(self.n),
                Argument::U64(self.width),
                Argument::U32(self.add),
                Argument::Address(self.x.value()),
                Argument::Address(self.weight.value()),
                Argument::Address(self.moments.value()),
                Argument::Address(self.dy.value()),
                Argument::Address(self.dx.value()),
            ],
        )
    }
}

/// Sums over parts of 64 rows of `dy`, and with `x` of `dy` times the normalised rows; `n` is blocks of 32 columns times parts.
#[derive(Debug, Clone, Copy)]
pub struct ColumnParts {
    pub n: u64,
    pub rows: u64,
    pub width: u64,
    pub pitch: u64,
    pub dy: Address<u16>,
    pub x: Address<u16>,
    pub moments: Address<f32>,
    /// Written.
    pub sums: Address<f32>,
    /// Written.
    pub products: Address<f32>,
}

impl ColumnParts {
    pub const KERNEL: Kernel = Kernel {
        name: "column_parts",
        file: "rows.cu",
        block: 256,
        elems_per_block: 1,
        shared_bytes: 0,
        parameters: 9,
    };

    /// # Errors
    /// As [`Kernel::start`].
    pub fn launch(&self, device: &dyn Device) -> Result<(), DeviceError> {
        Kernel::start(
            &Self::KERNEL,
            device,
            self.n,
            &[
                Argument::U64(self.n),
                Argument::U64(self.rows),
                Argument::U64(self.width),
                Argument::U64(self.pitch),
                Argument::Address(self.dy.value()),
                Argument::Address(self.x.value()),
                Argument::Address(self.moments.value()),
                Argument::Address(self.sums.value()),
                Argument::Address(self.products.value()),
            ],
        )
    }
}

/// Adds the sums of `parts` parts of `n` columns to a gradient, in order.
#[derive(Debug, Clone, Copy)]
pub struct AddParts {
    pub n: u64,
    pub parts: u64,
    pub sums: Address<f32>,
    /// Read and written.
    pub gradient: Address<f32>,
}

impl AddParts {
    pub const KERNEL: Kernel = Kernel {
        name: "add_parts",
        file: "rows.cu",
        block: 256,
        elems_per_block: 256,
        shared_bytes: 0,
        parameters: 4,
    };

    /// # Errors
    /// As [`Kernel::start`].
    pub fn launch(&self, device: &dyn Device) -> Result<(), DeviceError> {
        Kernel::start(
            &Self::KERNEL,
            device,
            self.n,
            &[
                Argument::U64(self.n),
                Argument::U64(self.parts),
                Argument::Address(self.sums.value()),
                Argument::Address(self.gradient.value()),
            ],
        )
    }
}

/// GELU by tanh of bf16.
#[derive(Debug, Clone, Copy)]
pub struct Gelu {
    pub n: u64,
    pub x: Address<u16>,
    /// Written.
    pub y: Address<u16>,
}

impl Gelu {
    pub const KERNEL: Kernel = Kernel {
        name: "gelu",
        file: "rows.cu",
        block: 256,
        elems_per_block: 2048,
        shared_bytes: 0,
        parameters: 3,
    };

    /// # Errors
    /// As [`Kernel::start`].
    pub fn launch(&self, device: &dyn Device) -> Result<(), DeviceError> {
        Kernel::start(
            &Self::KERNEL,
            device,
            self.n,
            &[Argument::U64(self.n), Argument::Address(self.x.value()), Argument::Address(self.y.value())],
        )
    }
}

/// Gradient of `gelu`, stored, or added with `add`.
#[derive(Debug, Clone, Copy)]
pub struct GeluBackward {
    pub n: u64,
    pub add: u32,
    pub x: Address<u16>,
    pub dy: Address<u16>,
    /// Read and written.
    pub dx: Address<u16>,
}

impl GeluBackward {
    pub const KERNEL: Kernel = Kernel {
        name: "gelu_backward",
        file: "rows.cu",
        block: 256,
        elems_per_block: 2048,
        shared_bytes: 0,
        parameters: 5,
    };

    /// # Errors
    /// As [`Kernel::start`].
    pub fn launch(&self, device: &dyn Device) -> Result<(), DeviceError> {
        Kernel::start(
            &Self::KERNEL,
            device,
            self.n,
            &[
                Argument::U64(self.n),
                Argument::U32(self.add),
                Argument::Address(self.x.value()),
                Argument::Address(self.dy.value()),
                Argument::Address(self.dx.value()),
            ],
        )
    }
}

/// The rectifier of bf16.
#[derive(Debug, Clone, Copy)]
pub struct Relu {
    pub n: u64,
    pub x: Address<u16>,
    /// Written.
    pub y: Address<u16>,
}

impl Relu {
    pub const KERNEL: Kernel = Kernel {
        name: "relu",
        file: "rows.cu",
        block: 256,
        elems_per_block: 2048,
        shared_bytes: 0,
        parameters: 3,
    };

    /// # Errors
    /// As [`Kernel::start`].
    pub fn launch(&self, device: &dyn Device) -> Result<(), DeviceError> {
        Kernel::start(
            &Self::KERNEL,
            device,
            self.n,
            &[Argument::U64(self.n), Argument::Address(self.x.value()), Argument::Address(self.y.value())],
        )
    }
}

/// Gradient of `relu`, stored, or added with `add`.
#[derive(Debug, Clone, Copy)]
pub struct ReluBackward {
    pub n: u64,
    pub add: u32,
    pub x: Address<u16>,
    pub dy: Address<u16>,
    /// Read and written.
    pub dx: Address<u16>,
}

impl ReluBackward {
    pub const KERNEL: Kernel = Kernel {
        name: "relu_backward",
        file: "rows.cu",
        block: 256,
        elems_per_block: 2048,
        shared_bytes: 0,
        parameters: 5,
    };

    /// # Errors
    /// As [`Kernel::start`].
    pub fn launch(&self, device: &dyn Device) -> Result<(), DeviceError> {
        Kernel::start(
            &Self::KERNEL,
            device,
            self.n,
            &[
                Argument::U64(self.n),
                Argument::U32(self.add),
                Argument::Address(self.x.value()),
                Argument::Address(self.dy.value()),
                Argument::Address(self.dx.value()),
            ],
        )
    }
}

/// `y = a + b` of bf16.
#[derive(Debug, Clone, Copy)]
pub struct SumOf {
    pub n: u64,
    pub a: Address<u16>,
    pub b: Address<u16>,
    /// Written.
    pub y: Address<u16>,
}

impl SumOf {
    pub const KERNEL: Kernel = Kernel {
        name: "sum_of",
        file: "rows.cu",
        block: 256,
        elems_per_block: 2048,
        shared_bytes: 0,
        parameters: 4,
    };

    /// # Errors
    /// As [`Kernel::start`].
    pub fn launch(&self, device: &dyn Device) -> Result<(), DeviceError> {
        Kernel::start(
            &Self::KERNEL,
            device,
            self.n,
            &[
                Argument::U64(self.n),
                Argument::Address(self.a.value()),
                Argument::Address(self.b.value()),
                Argument::Address(self.y.value()),
            ],
        )
    }
}

/// `y = x` of bf16, or `y += x` with `add`.
#[derive(Debug, Clone, Copy)]
pub struct Put {
    pub n: u64,
    pub add: u32,
    pub x: Address<u16>,
    /// Read and written.
    pub y: Address<u16>,
}

impl Put {
    pub const KERNEL: Kernel = Kernel {
        name: "put",
        file: "rows.cu",
        block: 256,
        elems_per_block: 2048,
        shared_bytes: 0,
        parameters: 4,
    };

    /// # Errors
    /// As [`Kernel::start`].
    pub fn launch(&self, device: &dyn Device) -> Result<(), DeviceError> {
        Kernel::start(
            &Self::KERNEL,
            device,
            self.n,
            &[
                Argument::U64(self.n),
                Argument::U32(self.add),
                Argument::Address(self.x.value()),
                Argument::Address(self.y.value()),
            ],
        )
    }
}

/// The nearest bf16 to each of `n` values.
#[derive(Debug, Clone, Copy)]
pub struct ToBf16 {
    pub n: u64,
    pub x: Address<f32>,
    /// Written.
    pub y: Address<u16>,
}

impl ToBf16 {
    pub const KERNEL: Kernel = Kernel {
        name: "to_bf16",
        file: "rows.cu",
        block: 256,
        elems_per_block: 2048,
        shared_bytes: 0,
        parameters: 3,
    };

    /// # Errors
    /// As [`Kernel::start`].
    pub fn launch(&self, device: &dyn Device) -> Result<(), DeviceError> {
        Kernel::start(
            &Self::KERNEL,
            device,
            self.n,
            &[Argument::U64(self.n), Argument::Address(self.x.value()), Argument::Address(self.y.value())],
        )
    }
}

/// Sets `n` words to 0.
#[derive(Debug, Clone, Copy)]
pub struct Clear {
    pub n: u64,
    /// Written.
    pub words: Address<u32>,
}

impl Clear {
    pub const KERNEL: Kernel = Kernel {
        name: "clear",
        file: "rows.cu",
        block: 256,
        elems_per_block: 256,
        shared_bytes: 0,
        parameters: 2,
    };

    /// # Errors
    /// As [`Kernel::start`].
    pub fn launch(&self, device: &dyn Device) -> Result<(), DeviceError> {
        Kernel::start(
            &Self::KERNEL,
            device,
            self.n,
            &[Argument::U64(self.n), Argument::Address(self.words.value())],
        )
    }
}

/// Token and position embeddings of `n` rows of sequences of `length`.
#[derive(Debug, Clone, Copy)]
pub struct Embed {
    pub n: u64,
    pub length: u64,
    pub width: u64,
    pub ids: Address<u32>,
    pub tokens: Address<f32>,
    pub positions: Address<f32>,
    /// Written.
    pub y: Address<u16>,
}

impl Embed {
    pub const KERNEL: Kernel = Kernel {
        name: "embed",
        file: "embedding.cu",
        block: 256,
        elems_per_block: 1,
        shared_bytes: 0,
        parameters: 7,
    };

    /// # Errors
    /// As [`Kernel::start`].
    pub fn launch(&self, device: &dyn Device) -> Result<(), DeviceError> {
        Kernel::start(
            &Self::KERNEL,
            device,
            self.n,
            &[
                Argument::U64(self.n),
                Argument::U64(self.length),
                Argument::U64(self.width),
                Argument::Address(self.ids.value()),
                Argument::Address(self.tokens.value()),
                Argument::Address(self.positions.value()),
                Argument::Address(self.y.value()),
            ],
        )
    }
}

/// Adds the rows of each of `n` tokens that occur, `rows[starts[b]..starts[b + 1]]`, to the gradient of its embedding, in order.
#[derive(Debug, Clone, Copy)]
pub struct EmbedBackward {
    pub n: u64,
    pub width: u64,
    pub tokens: Address<u32>,
    pub starts: Address<u32>,
    pub rows: Address<u32>,
    pub dy: Address<u16>,
    /// Read and written.
    pub gradient: Address<f32>,
}

impl EmbedBackward {
    pub const KERNEL: Kernel = Kernel {
        name: "embed_backward",
        file: "embedding.cu",
        block: 256,
        elems_per_block: 1,
        shared_bytes: 0,
        parameters: 7,
    };

    /// # Errors
    /// As [`Kernel::start`].
    pub fn launch(&self, device: &dyn Device) -> Result<(), DeviceError> {
        Kernel::start(
            &Self::KERNEL,
            device,
            self.n,
            &[
                Argument::U64(self.n),
                Argument::U64(self.width),
                Argument::Address(self.tokens.value()),
                Argument::Address(self.starts.value()),
                Argument::Address(self.rows.value()),
                Argument::Address(self.dy.value()),
                Argument::Address(self.gradient.value()),
            ],
        )
    }
}

/// Adds the sum over sequences to the gradient of each of `n` positions.
#[derive(Debug, Clone, Copy)]
pub struct PositionsBackward {
    pub n: u64,
    pub sequences: u64,
    pub width: u64,
    pub dy: Address<u16>,
    /// Read and written.
    pub gradient: Address<f32>,
}

impl PositionsBackward {
    pub const KERNEL: Kernel = Kernel {
        name: "positions_backward",
        file: "embedding.cu",
        block: 256,
        elems_per_block: 1,
        shared_bytes: 0,
        parameters: 5,
    };

    /// # Errors
    /// As [`Kernel::start`].
    pub fn launch(&self, device: &dyn Device) -> Result<(), DeviceError> {
        Kernel::start(
            &Self::KERNEL,
            device,
            self.n,
            &[
                Argument::U64(self.n),
                Argument::U64(self.sequences),
                Argument::U64(self.width),
                Argument::Address(self.dy.value()),
                Argument::Address(self.gradient.value()),
            ],
        )
    }
}

/// Loss of `n` rows of logits, `pitch` apart, and whether their first largest is right; with `backward` logits become their gradient.
#[derive(Debug, Clone, Copy)]
pub struct CrossEntropy {
    pub n: u64,
    pub outputs: u64,
    pub pitch: u64,
    pub backward: u32,
    pub classes: Address<u32>,
    /// Read and written.
    pub logits: Address<u16>,
    /// Written.
    pub losses: Address<f32>,
    /// Written.
    pub right: Address<u32>,
}

impl CrossEntropy {
    pub const KERNEL: Kernel = Kernel {
        name: "cross_entropy",
        file: "loss.cu",
        block: 256,
        elems_per_block: 1,
        shared_bytes: 0,
        parameters: 8,
    };

    /// # Errors
    /// As [`Kernel::start`].
    pub fn launch(&self, device: &dyn Device) -> Result<(), DeviceError> {
        Kernel::start(
            &Self::KERNEL,
            device,
            self.n,
            &[
                Argument::U64(self.n),
                Argument::U64(self.outputs),
                Argument::U64(self.pitch),
                Argument::U32(self.backward),
                Argument::Address(self.classes.value()),
                Argument::Address(self.logits.value()),
                Argument::Address(self.losses.value()),
                Argument::Address(self.right.value()),
            ],
        )
    }
}

/// Squared error of `n` rows, averaged over outputs; with `backward` predictions become their gradient.
#[derive(Debug, Clone, Copy)]
pub struct SquaredError {
    pub n: u64,
    pub outputs: u64,
    pub backward: u32,
    pub targets: Address<f32>,
    /// Read and written.
    pub predictions: Address<u16>,
    /// Written.
    pub losses: Address<f32>,
}

impl SquaredError {
    pub const KERNEL: Kernel = Kernel {
        name: "squared_error",
        file: "loss.cu",
        block: 256,
        elems_per_block: 256,
        shared_bytes: 0,
        parameters: 6,
    };

    /// # Errors
    /// As [`Kernel::start`].
    pub fn launch(&self, device: &dyn Device) -> Result<(), DeviceError> {
        Kernel::start(
            &Self::KERNEL,
            device,
            self.n,
            &[
                Argument::U64(self.n),
                Argument::U64(self.outputs),
                Argument::U32(self.backward),
                Argument::Address(self.targets.value()),
                Argument::Address(self.predictions.value()),
                Argument::Address(self.losses.value()),
            ],
        )
    }
}

/// Adds `n` losses, and how many rows are right if that is known, to `sums`.
#[derive(Debug, Clone, Copy)]
pub struct AddLosses {
    pub n: u64,
    pub losses: Address<f32>,
    pub right: Address<u32>,
    /// Read and written.
    pub sums: Address<f64>,
}

impl AddLosses {
    pub const KERNEL: Kernel = Kernel {
        name: "add_losses",
        file: "loss.cu",
        block: 256,
        elems_per_block: 0,
        shared_bytes: 0,
        parameters: 4,
    };

    /// # Errors
    /// As [`Kernel::start`].
    pub fn launch(&self, device: &dyn Device) -> Result<(), DeviceError> {
        Kernel::start(
            &Self::KERNEL,
            device,
            self.n,
            &[
                Argument::U64(self.n),
                Argument::Address(self.losses.value()),
                Argument::Address(self.right.value()),
                Argument::Address(self.sums.value()),
            ],
        )
    }
}

/// `y = x · weightᵀ + bias` by tensor cores; `n`: tiles of 128 x 128 of `y`.
#[derive(Debug, Clone, Copy)]
pub struct Linear {
    pub n: u64,
    pub rows: u64,
    pub inputs: u64,
    pub outputs: u64,
    pub pitch: u64,
    pub x: Address<u16>,
    pub weight: Address<u16>,
    pub bias: Address<f32>,
    /// Written.
    pub y: Address<u16>,
}

impl Linear {
    pub const KERNEL: Kernel = Kernel {
        name: "linear",
        file: "linear.cu",
        block: 256,
        elems_per_block: 1,
        shared_bytes: 61440,
        parameters: 9,
    };

    /// # Errors
    /// As [`Kernel::start`].
    pub fn launch(&self, device: &dyn Device) -> Result<(), DeviceError> {
        Kernel::start(
            &Self::KERNEL,
            device,
            self.n,
            &[
                Argument::U64(self.n),
                Argument::U64(self.rows),
                Argument::U64(self.inputs),
                Argument::U64(self.outputs),
                Argument::U64(self.pitch),
                Argument::Address(self.x.value()),
                Argument::Address(self.weight.value()),
                Argument::Address(self.bias.value()),
                Argument::Address(self.y.value()),
            ],
        )
    }
}

/// `dx = dy · weight`, stored, or added with `add`; `n`: tiles of `dx`.
#[derive(Debug, Clone, Copy)]
pub struct LinearBackward {
    pub n: u64,
    pub rows: u64,
    pub inputs: u64,
    pub outputs: u64,
    pub pitch: u64,
    pub add: u32,
    pub dy: Address<u16>,
    pub weight: Address<u16>,
    /// Read and written.
    pub dx: Address<u16>,
}

impl LinearBackward {
    pub const KERNEL: Kernel = Kernel {
        name: "linear_backward",
        file: "linear.cu",
        block: 256,
        elems_per_block: 1,
        shared_bytes: 61440,
        parameters: 9,
    };

    /// # Errors
    /// As [`Kernel::start`].
    pub fn launch(&self, device: &dyn Device) -> Result<(), DeviceError> {
        Kernel::start(
            &Self::KERNEL,
            device,
            self.n,
            &[
                Argument::U64(self.n),
                Argument::U64(self.rows),
                Argument::U64(self.inputs),
                Argument::U64(self.outputs),
                Argument::U64(self.pitch),
                Argument::U32(self.add),
                Argument::Address(self.dy.value()),
                Argument::Address(self.weight.value()),
                Argument::Address(self.dx.value()),
            ],
        )
    }
}

/// `gradient += dyᵀ · x`; `n`: tiles of the weight.
#[derive(Debug, Clone, Copy)]
pub struct LinearWeight {
    pub n: u64,
    pub rows: u64,
    pub inputs: u64,
    pub outputs: u64,
    pub pitch: u64,
    pub dy: Address<u16>,
    pub x: Address<u16>,
    /// Read and written.
    pub gradient: Address<f32>,
}

impl LinearWeight {
    pub const KERNEL: Kernel = Kernel {
        name: "linear_weight",
        file: "linear.cu",
        block: 256,
        elems_per_block: 1,
        shared_bytes: 61440,
        parameters: 8,
    };

    /// # Errors
    /// As [`Kernel::start`].
    pub fn launch(&self, device: &dyn Device) -> Result<(), DeviceError> {
        Kernel::start(
            &Self::KERNEL,
            device,
            self.n,
            &[
                Argument::U64(self.n),
                Argument::U64(self.rows),
                Argument::U64(self.inputs),
                Argument::U64(self.outputs),
                Argument::U64(self.pitch),
                Argument::Address(self.dy.value()),
                Argument::Address(self.x.value()),
                Argument::Address(self.gradient.value()),
            ],
        )
    }
}

/// Causal attention of heads of up to 32: `n` is sequences times heads times tiles of 128 queries.
#[derive(Debug, Clone, Copy)]
pub struct Attention32 {
    pub n: u64,
    pub length: u64,
    pub heads: u64,
    pub head_width: u32,
    pub qkv: Address<u16>,
    /// Written.
    pub out: Address<u16>,
    /// Written.
    pub lse: Address<f32>,
}

impl Attention32 {
    pub const KERNEL: Kernel = Kernel {
        name: "attention_32",
        file: "attention.cu",
        block: 128,
        elems_per_block: 1,
        shared_bytes: 20480,
        parameters: 7,
    };

    /// # Errors
    /// As [`Kernel::start`].
    pub fn launch(&self, device: &dyn Device) -> Result<(), DeviceError> {
        Kernel::start(
            &Self::KERNEL,
            device,
            self.n,
            &[
                Argument::U64(self.n),
                Argument::U64(self.length),
                Argument::U64(self.heads),
                Argument::U32(self.head_width),
                Argument::Address(self.qkv.value()),
                Argument::Address(self.out.value()),
                Argument::Address(self.lse.value()),
            ],
        )
    }
}

/// Causal attention of heads of up to 64: `n` is sequences times heads times tiles of 128 queries.
#[derive(Debug, Clone, Copy)]
pub struct Attention64 {
    pub n: u64,
    pub length: u64,
    pub heads: u64,
    pub head_width: u32,
    pub qkv: Address<u16>,
    /// Written.
    pub out: Address<u16>,
    /// Written.
    pub lse: Address<f32>,
}

impl Attention64 {
    pub const KERNEL: Kernel = Kernel {
        name: "attention_64",
        file: "attention.cu",
        block: 128,
        elems_per_block: 1,
        shared_bytes: 36864,
        parameters: 7,
    };

    /// # Errors
    /// As [`Kernel::start`].
    pub fn launch(&self, device: &dyn Device) -> Result<(), DeviceError> {
        Kernel::start(
            &Self::KERNEL,
            device,
            self.n,
            &[
                Argument::U64(self.n),
                Argument::U64(self.length),
                Argument::U64(self.heads),
                Argument::U32(self.head_width),
                Argument::Address(self.qkv.value()),
                Argument::Address(self.out.value()),
                Argument::Address(self.lse.value()),
            ],
        )
    }
}

/// Causal attention of heads of up to 128: `n` is sequences times heads times tiles of 128 queries.
#[derive(Debug, Clone, Copy)]
pub struct Attention128 {
    pub n: u64,
    pub length: u64,
    pub heads: u64,
    pub head_width: u32,
    pub qkv: Address<u16>,
    /// Written.
    pub out: Address<u16>,
    /// Written.
    pub lse: Address<f32>,
}

impl Attention128 {
    pub const KERNEL: Kernel = Kernel {
        name: "attention_128",
        file: "attention.cu",
        block: 256,
        elems_per_block: 1,
        shared_bytes: 69632,
        parameters: 7,
    };

    /// # Errors
    /// As [`Kernel::start`].
    pub fn launch(&self, device: &dyn Device) -> Result<(), DeviceError> {
        Kernel::start(
            &Self::KERNEL,
            device,
            self.n,
            &[
                Argument::U64(self.n),
                Argument::U64(self.length),
                Argument::U64(self.heads),
                Argument::U32(self.head_width),
                Argument::Address(self.qkv.value()),
                Argument::Address(self.out.value()),
                Argument::Address(self.lse.value()),
            ],
        )
    }
}

/// The sum of `dout` times `out` over each head of each token: `n` is sequences times length times heads.
#[derive(Debug, Clone, Copy)]
pub struct AttentionDelta {
    pub n: u64,
    pub length: u64,
    pub heads: u64,
    pub head_width: u32,
    pub out: Address<u16>,
    pub dout: Address<u16>,
    /// Written.
    pub delta: Address<f32>,
}

impl AttentionDelta {
    pub const KERNEL: Kernel = Kernel {
        name: "attention_delta",
        file: "attention.cu",
        block: 256,
        elems_per_block: 32,
        shared_bytes: 0,
        parameters: 7,
    };

    /// # Errors
    /// As [`Kernel::start`].
    pub fn launch(&self, device: &dyn Device) -> Result<(), DeviceError> {
        Kernel::start(
            &Self::KERNEL,
            device,
            self.n,
            &[
                Argument::U64(self.n),
                Argument::U64(self.length),
                Argument::U64(self.heads),
                Argument::U32(self.head_width),
                Argument::Address(self.out.value()),
                Argument::Address(self.dout.value()),
                Argument::Address(self.delta.value()),
            ],
        )
    }
}

/// Gradient of the queries of heads of up to 32: `n` is sequences times heads times tiles of 64 queries.
#[derive(Debug, Clone, Copy)]
pub struct AttentionBackwardQueries32 {
    pub n: u64,
    pub length: u64,
    pub heads: u64,
    pub head_width: u32,
    pub qkv: Address<u16>,
    pub lse: Address<f32>,
    pub delta: Address<f32>,
    pub dout: Address<u16>,
    /// Written.
    pub dqkv: Address<u16>,
}

impl AttentionBackwardQueries32 {
    pub const KERNEL: Kernel = Kernel {
        name: "attention_backward_queries_32",
        file: "attention.cu",
        block: 64,
        elems_per_block: 1,
        shared_bytes: 20480,
        parameters: 9,
    };

    /// # Errors
    /// As [`Kernel::start`].
    pub fn launch(&self, device: &dyn Device) -> Result<(), DeviceError> {
        Kernel::start(
            &Self::KERNEL,
            device,
            self.n,
            &[
                Argument::U64(self.n),
                Argument::U64(self.length),
                Argument::U64(self.heads),
                Argument::U32(self.head_width),
                Argument::Address(self.qkv.value()),
                Argument::Address(self.lse.value()),
                Argument::Address(self.delta.value()),
                Argument::Address(self.dout.value()),
                Argument::Address(self.dqkv.value()),
            ],
        )
    }
}

/// Gradient of the queries of heads of up to 64: `n` is sequences times heads times tiles of 64 queries.
#[derive(Debug, Clone, Copy)]
pub struct AttentionBackwardQueries64 {
    pub n: u64,
    pub length: u64,
    pub heads: u64,
    pub head_width: u32,
    pub qkv: Address<u16>,
    pub lse: Address<f32>,
    pub delta: Address<f32>,
    pub dout: Address<u16>,
    /// Written.
    pub dqkv: Address<u16>,
}

impl AttentionBackwardQueries64 {
    pub const KERNEL: Kernel = Kernel {
        name: "attention_backward_queries_64",
        file: "attention.cu",
        block: 64,
        elems_per_block: 1,
        shared_bytes: 36864,
        parameters: 9,
    };

    /// # Errors
    /// As [`Kernel::start`].
    pub fn launch(&self, device: &dyn Device) -> Result<(), DeviceError> {
        Kernel::start(
            &Self::KERNEL,
            device,
            self.n,
            &[
                Argument::U64(self.n),
                Argument::U64(self.length),
                Argument::U64(self.heads),
                Argument::U32(self.head_width),
                Argument::Address(self.qkv.value()),
                Argument::Address(self.lse.value()),
                Argument::Address(self.delta.value()),
                Argument::Address(self.dout.value()),
                Argument::Address(self.dqkv.value()),
            ],
        )
    }
}

/// Gradient of the queries of heads of up to 128: `n` is sequences times heads times tiles of 64 queries.
#[derive(Debug, Clone, Copy)]
pub struct AttentionBackwardQueries128 {
    pub n: u64,
    pub length: u64,
    pub heads: u64,
    pub head_width: u32,
    pub qkv: Address<u16>,
    pub lse: Address<f32>,
    pub delta: Address<f32>,
    pub dout: Address<u16>,
    /// Written.
    pub dqkv: Address<u16>,
}

impl AttentionBackwardQueries128 {
    pub const KERNEL: Kernel = Kernel {
        name: "attention_backward_queries_128",
        file: "attention.cu",
        block: 128,
        elems_per_block: 1,
        shared_bytes: 69632,
        parameters: 9,
    };

    /// # Errors
    /// As [`Kernel::start`].
    pub fn launch(&self, device: &dyn Device) -> Result<(), DeviceError> {
        Kernel::start(
            &Self::KERNEL,
            device,
            self.n,
            &[
                Argument::U64(self.n),
                Argument::U64(self.length),
                Argument::U64(self.heads),
                Argument::U32(self.head_width),
                Argument::Address(self.qkv.value()),
                Argument::Address(self.lse.value()),
                Argument::Address(self.delta.value()),
                Argument::Address(self.dout.value()),
                Argument::Address(self.dqkv.value()),
            ],
        )
    }
}

/// Gradient of the keys and values of heads of up to 32: `n` is sequences times heads times tiles of 64 keys.
#[derive(Debug, Clone, Copy)]
pub struct AttentionBackwardKeys32 {
    pub n: u64,
    pub length: u64,
    pub heads: u64,
    pub head_width: u32,
    pub qkv: Address<u16>,
    pub lse: Address<f32>,
    pub delta: Address<f32>,
    pub dout: Address<u16>,
    /// Written.
    pub dqkv: Address<u16>,
}

impl AttentionBackwardKeys32 {
    pub const KERNEL: Kernel = Kernel {
        name: "attention_backward_keys_32",
        file: "attention.cu",
        block: 64,
        elems_per_block: 1,
        shared_bytes: 26624,
        parameters: 9,
    };

    /// # Errors
    /// As [`Kernel::start`].
    pub fn launch(&self, device: &dyn Device) -> Result<(), DeviceError> {
        Kernel::start(
            &Self::KERNEL,
            device,
            self.n,
            &[
                Argument::U64(self.n),
                Argument::U64(self.length),
                Argument::U64(self.heads),
                Argument::U32(self.head_width),
                Argument::Address(self.qkv.value()),
                Argument::Address(self.lse.value()),
                Argument::Address(self.delta.value()),
                Argument::Address(self.dout.value()),
                Argument::Address(self.dqkv.value()),
            ],
        )
    }
}

/// Gradient of the keys and values of heads of up to 64: `n` is sequences times heads times tiles of 64 keys.
#[derive(Debug, Clone, Copy)]
pub struct AttentionBackwardKeys64 {
    pub n: u64,
    pub length: u64,
    pub heads: u64,
    pub head_width: u32,
    pub qkv: Address<u16>,
    pub lse: Address<f32>,
    pub delta: Address<f32>,
    pub dout: Address<u16>,
    /// Written.
    pub dqkv: Address<u16>,
}

impl AttentionBackwardKeys64 {
    pub const KERNEL: Kernel = Kernel {
        name: "attention_backward_keys_64",
        file: "attention.cu",
        block: 128,
        elems_per_block: 1,
        shared_bytes: 47104,
        parameters: 9,
    };

    /// # Errors
    /// As [`Kernel::start`].
    pub fn launch(&self, device: &dyn Device) -> Result<(), DeviceError> {
        Kernel::start(
            &Self::KERNEL,
            device,
            self.n,
            &[
                Argument::U64(self.n),
                Argument::U64(self.length),
                Argument::U64(self.heads),
                Argument::U32(self.head_width),
                Argument::Address(self.qkv.value()),
                Argument::Address(self.lse.value()),
                Argument::Address(self.delta.value()),
                Argument::Address(self.dout.value()),
                Argument::Address(self.dqkv.value()),
            ],
        )
    }
}

/// Gradient of the keys and values of heads of up to 128: `n` is sequences times heads times tiles of 64 keys.
#[derive(Debug, Clone, Copy)]
pub struct AttentionBackwardKeys128 {
    pub n: u64,
    pub length: u64,
    pub heads: u64,
    pub head_width: u32,
    pub qkv: Address<u16>,
    pub lse: Address<f32>,
    pub delta: Address<f32>,
    pub dout: Address<u16>,
    /// Written.
    pub dqkv: Address<u16>,
}

impl AttentionBackwardKeys128 {
    pub const KERNEL: Kernel = Kernel {
        name: "attention_backward_keys_128",
        file: "attention.cu",
        block: 128,
        elems_per_block: 1,
        shared_bytes: 52736,
        parameters: 9,
    };

    /// # Errors
    /// As [`Kernel::start`].
    pub fn launch(&self, device: &dyn Device) -> Result<(), DeviceError> {
        Kernel::start(
            &Self::KERNEL,
            device,
            self.n,
            &[
                Argument::U64(self.n),
                Argument::U64(self.length),
                Argument::U64(self.heads),
                Argument::U32(self.head_width),
                Argument::Address(self.qkv.value()),
                Argument::Address(self.lse.value()),
                Argument::Address(self.delta.value()),
                Argument::Address(self.dout.value()),
                Argument::Address(self.dqkv.value()),
            ],
        )
    }
}
