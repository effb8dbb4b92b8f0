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
    pub const KERNEL: Kernel =
        Kernel { name: "sgd", file: "update.cu", block: 256, elems_per_block: 1024, shared_bytes: 0 };

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
    pub const KERNEL: Kernel =
        Kernel { name: "momentum", file: "update.cu", block: 256, elems_per_block: 1024, shared_bytes: 0 };

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
    pub const KERNEL: Kernel =
        Kernel { name: "nesterov", file: "update.cu", block: 256, elems_per_block: 1024, shared_bytes: 0 };

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
    pub const KERNEL: Kernel =
        Kernel { name: "adam", file: "update.cu", block: 256, elems_per_block: 1024, shared_bytes: 0 };

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
    pub const KERNEL: Kernel =
        Kernel { name: "adamw", file: "update.cu", block: 256, elems_per_block: 1024, shared_bytes: 0 };

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
    pub const KERNEL: Kernel =
        Kernel { name: "adam_bf16", file: "update.cu", block: 256, elems_per_block: 1024, shared_bytes: 0 };

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
    pub const KERNEL: Kernel =
        Kernel { name: "adamw_bf16", file: "update.cu", block: 256, elems_per_block: 1024, shared_bytes: 0 };

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
    pub const KERNEL: Kernel =
        Kernel { name: "norm_partials", file: "norm.cu", block: 64, elems_per_block: 8, shared_bytes: 0 };

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
    pub const KERNEL: Kernel =
        Kernel { name: "clip", file: "norm.cu", block: 256, elems_per_block: 0, shared_bytes: 0 };

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
    pub const KERNEL: Kernel =
        Kernel { name: "digest", file: "digest.cu", block: 256, elems_per_block: 4096, shared_bytes: 0 };

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
