//! How each kernel is launched to be measured: its buffers, and what was computed before it.

use std::fmt::Display;

use anyhow::Context;
use bytemuck::{NoUninit, cast_slice};
use hcrun_kernels::device::{Address, Device, DeviceBuffer, DeviceError, Kernel};
use hcrun_kernels::step_block::StepBlock;
use hcrun_kernels::update::{Moments, StateRounding};
use hcrun_protocol::prng::Prng;
use serde::Deserialize;

mod attention;
mod by_name;
mod model;
mod norm;
mod privacy;
mod select;

/// A launch that can be repeated.
pub(super) struct Setup {
    /// What the kernel calls `n`.
    pub(super) elems: u64,
    /// What one launch must read and write.
    pub(super) bytes: u64,
    /// Of what these bytes are the sum.
    pub(super) counted: String,
    launch: Box<Launcher>,
    /// What a launch uses up, and what it began as.
    used_up: Vec<(DeviceBuffer, Vec<u8>)>,
    #[cfg_attr(not(test), expect(dead_code, reason = "held for the addresses in `launch`"))]
    buffers: Vec<DeviceBuffer>,
}

type Launcher = dyn Fn(&dyn Device) -> Result<(), DeviceError>;

impl Setup {
    fn new(
        memory: Memory<'_>,
        (elems, bytes): (u64, u64),
        counted: impl Display,
        launch: impl Fn(&dyn Device) -> Result<(), DeviceError> + 'static,
    ) -> Setup {
        let Memory { used_up, buffers, .. } = memory;
        Setup { elems, bytes, counted: counted.to_string(), launch: Box::new(launch), used_up, buffers }
    }

    /// Before a launch: what the last one used up is there again.
    pub(super) fn restore(&self, device: &dyn Device) -> Result<(), DeviceError> {
        self.used_up.iter().try_for_each(|(buffer, content)| device.write(buffer, 0, content))
    }

    pub(super) fn launch(&self, device: &dyn Device) -> Result<(), DeviceError> {
        (self.launch)(device)
    }
}

/// On an arena of `elems` elements.
///
/// # Errors
/// If nothing says how this kernel is measured, or the device fails.
pub(super) fn setup(device: &dyn Device, kernel: &'static Kernel, elems: usize) -> anyhow::Result<Setup> {
    let memory = Memory::new(device);
    let special = match kernel.file {
        "attention.cu" => attention::setup(memory, kernel, elems)?,
        "linear.cu" | "embedding.cu" | "loss.cu" => model::setup(memory, kernel.name, elems)?,
        "rows.cu" if described(kernel.name)?.bytes_per_elem == 0.0 => {
            model::setup(memory, kernel.name, elems)?
        }
        "norm.cu" => norm::setup(memory, kernel.name, elems)?,
        "select.cu" => select::setup(memory, kernel.name, elems)?,
        "privacy.cu" => privacy::setup(memory, kernel.name, elems)?,
        _ => return by_name::setup(memory, &described(kernel.name)?, kernel, elems),
    };
    special.with_context(|| format!("nothing says how {} is measured: gpu/setups", kernel.name))
}

/// The same by the device's library, for kernels of `linear.cu`.
///
/// # Errors
/// As [`setup`].
pub(super) fn by_library(
    device: &dyn Device,
    kernel: &'static Kernel,
    elems: usize,
) -> anyhow::Result<Setup> {
    let found = model::linear(Memory::new(device), kernel.name, model::rows(elems), model::By::Library)?;
    found.with_context(|| format!("no library computes {}", kernel.name))
}

/// Buffers of one kernel.
struct Memory<'a> {
    device: &'a dyn Device,
    buffers: Vec<DeviceBuffer>,
    used_up: Vec<(DeviceBuffer, Vec<u8>)>,
}

impl Memory<'_> {
    fn new(device: &dyn Device) -> Memory<'_> {
        Memory { device, buffers: Vec::new(), used_up: Vec::new() }
    }

    fn hold<T>(&mut self, buffer: DeviceBuffer) -> Address<T> {
        let address = buffer.at(0);
        self.buffers.push(buffer);
        address
    }

    fn written<T: NoUninit>(&mut self, values: &[T]) -> Result<Address<T>, DeviceError> {
        let buffer = self.device.allocate(size_of_val(values))?;
        self.device.write(&buffer, 0, cast_slice(values))?;
        Ok(self.hold(buffer))
    }

    /// What lies in a buffer now lies there before each launch.
    fn keep<T>(&mut self, address: Address<T>) -> anyhow::Result<()> {
        let index = self.buffers.iter().position(|buffer| buffer.address() == address.value());
        let buffer = self.buffers.swap_remove(index.context("a buffer of this memory")?);
        let mut content = vec![0; buffer.bytes()];
        self.device.read(&buffer, 0, &mut content)?;
        self.used_up.push((buffer, content));
        Ok(())
    }

    /// Elements of any type whose floats are 2⁻⁷ or so: neither zero nor denormal, finite and not negative.
    fn filled<T>(&mut self, elems: usize) -> Result<Address<T>, DeviceError> {
        self.repeated(elems * size_of::<T>(), &vec![0x3c; CHUNK_BYTES.min(elems * size_of::<T>())])
    }

    /// Like a gradient: of either sign, and of many exponents.
    #[expect(clippy::cast_possible_truncation, reason = "any values will do")]
    fn varied(&mut self, elems: usize) -> Result<Address<f32>, DeviceError> {
        let mut draws = Prng::new(4);
        let values: Vec<f32> =
            (0..elems.min(CHUNK_BYTES / 4)).map(|_| draws.normal() as f32 * 1e-2).collect();
        self.repeated(elems * 4, cast_slice(&values))
    }

    fn repeated<T>(&mut self, bytes: usize, chunk: &[u8]) -> Result<Address<T>, DeviceError> {
        let buffer = self.device.allocate(bytes)?;
        for offset in (0..bytes).step_by(chunk.len()) {
            self.device.write(&buffer, offset, &chunk[..chunk.len().min(bytes - offset)])?;
        }
        Ok(self.hold(buffer))
    }
}

/// Of a training step like any other.
fn step() -> [u32; StepBlock::WORDS] {
    let moments = Moments { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, step_size: 1e-3, correction2_sqrt: 0.9 };
    let step = StepBlock {
        learning_rate: 1e-3,
        gradient_scale: 1.0,
        moments,
        momentum: 0.9,
        skip: false,
        rounding: StateRounding::Nearest,
    };
    step.words()
}

/// The manifest, as far as a measurement needs it.
#[derive(Deserialize)]
struct Manifest {
    #[serde(rename = "kernel")]
    kernels: Vec<Described>,
}

#[derive(Deserialize)]
struct Described {
    name: String,
    /// 0 where it is not one that streams.
    #[serde(default)]
    bytes_per_elem: f64,
    params: Vec<Parameter>,
}

#[derive(Deserialize)]
struct Parameter {
    name: String,
    #[serde(rename = "type")]
    kind: String,
}

fn manifest() -> anyhow::Result<Manifest> {
    toml::from_str(include_str!("../../../kernels/cuda/kernels.toml")).context("kernels.toml")
}

fn described(kernel: &str) -> anyhow::Result<Described> {
    let found = manifest()?.kernels.into_iter().find(|described| described.name == kernel);
    found.with_context(|| format!("kernels.toml has no {kernel}"))
}

/// Made once for a buffer, and written again and again.
const CHUNK_BYTES: usize = 4 << 20;

#[cfg(test)]
mod tests;
