//! A struct a kernel, with a field a parameter.
//!
//! Made from kernels/cuda/kernels.toml by `cargo xtask kernels generate`: change that.

use crate::device::{Address, Argument, Device, DeviceError, Kernel};

pub const KERNELS: &[&Kernel] = &[&Adamw::KERNEL];

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
