//! How long kernels take, on buffers much larger than any cache of a card.

use std::time::Duration;

use anyhow::{Context, ensure};
use hcrun_kernels::cuda::CudaDevice;
use hcrun_kernels::device::{Argument, Device, DeviceBuffer, DeviceError, Kernel};
use hcrun_kernels::step_block::StepBlock;
use hcrun_kernels::update::{Moments, StateRounding};
use serde::Deserialize;

#[derive(Debug, Clone, Copy)]
pub(super) struct Rate {
    pub(super) name: &'static str,
    pub(super) elems: u64,
    pub(super) bytes_per_elem: f64,
    /// The median.
    pub(super) time: Duration,
    pub(super) repetitions: usize,
}

impl Rate {
    pub(super) fn bytes_per_s(&self) -> f64 {
        self.elems as f64 * self.bytes_per_elem / self.time.as_secs_f64()
    }
}

/// What the card's own copy reaches: each element is read and written.
pub(super) fn copy(device: &CudaDevice) -> anyhow::Result<Rate> {
    let from = filled(device, ELEMS * 4)?;
    let to = device.allocate(ELEMS * 4)?;
    repeat(device, "copy", 8.0, || device.copy(&from, &to, ELEMS * 4))
}

/// As the manifest describes it: each buffer as long as the elements, the rest by its name.
pub(super) fn kernel(
    device: &CudaDevice,
    described: &Described,
    kernel: &'static Kernel,
) -> anyhow::Result<Rate> {
    let mut buffers = Vec::new();
    let mut arguments = Vec::new();
    for parameter in &described.params {
        let argument = argument(device, parameter, &mut buffers)?;
        arguments.push(
            argument
                .with_context(|| format!("nothing says what `{}` is in a measurement", parameter.name))?,
        );
    }
    repeat(device, kernel.name, described.bytes_per_elem, || kernel.start(device, ELEMS as u64, &arguments))
}

/// None for what is not known here.
fn argument(
    device: &CudaDevice,
    parameter: &Parameter,
    buffers: &mut Vec<DeviceBuffer>,
) -> anyhow::Result<Option<Argument>> {
    let buffer = match (parameter.name.as_str(), parameter.kind.as_str()) {
        ("n", "u64") => return Ok(Some(Argument::U64(ELEMS as u64))),
        ("begin", "u64") => return Ok(Some(Argument::U64(0))),
        ("stochastic", "u32") => return Ok(Some(Argument::U32(0))),
        ("stream", "u64") => return Ok(Some(Argument::U64(1))),
        ("segments", "u64") => return Ok(Some(Argument::U64(1))),
        // Not part of the manifest's bytes.
        ("copy", "*u16") => return Ok(Some(Argument::Address(0))),
        ("step", "*u32") => written(device, &step())?,
        ("ends", "*u64") => written(device, &(ELEMS as u64).to_le_bytes())?,
        ("decays", "*f32") => written(device, &0.1f32.to_le_bytes())?,
        ("sum", "*u64") => written(device, &[0; 8])?,
        (name, kind) if AS_LONG_AS_THE_ELEMENTS.contains(&name) => match bytes_of(kind) {
            Some(bytes) => filled(device, ELEMS * bytes)?,
            None => return Ok(None),
        },
        // What others hold decides what is accessed: any content would do harm.
        _ => return Ok(None),
    };
    let address = Argument::Address(buffer.address());
    buffers.push(buffer);
    Ok(Some(address))
}

fn bytes_of(kind: &str) -> Option<usize> {
    match kind {
        // Payloads have scales between their bytes.
        "*u8" | "*i8" => Some(2),
        "*u16" => Some(2),
        "*f32" | "*u32" => Some(4),
        "*f64" | "*u64" => Some(8),
        _ => None,
    }
}

/// Of a training step like any other.
fn step() -> Vec<u8> {
    let moments = Moments { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, step_size: 1e-3, correction2_sqrt: 0.9 };
    let step = StepBlock {
        learning_rate: 1e-3,
        gradient_scale: 1.0,
        moments,
        momentum: 0.9,
        skip: false,
        rounding: StateRounding::Nearest,
    };
    step.words().iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// The manifest, as far as a measurement needs it.
#[derive(Deserialize)]
pub(super) struct Manifest {
    #[serde(rename = "kernel")]
    pub(super) kernels: Vec<Described>,
}

#[derive(Deserialize)]
pub(super) struct Described {
    pub(super) name: String,
    /// 0 where it is not one that streams.
    #[serde(default)]
    pub(super) bytes_per_elem: f64,
    params: Vec<Parameter>,
}

impl Described {
    /// Whether it streams, and all its parameters have a meaning here.
    pub(super) fn is_measured(&self) -> bool {
        self.bytes_per_elem > 0.0
            && self.params.iter().all(|parameter| {
                let name = parameter.name.as_str();
                SET_BY_NAME.contains(&name) || AS_LONG_AS_THE_ELEMENTS.contains(&name)
            })
    }
}

#[derive(Deserialize)]
struct Parameter {
    name: String,
    #[serde(rename = "type")]
    kind: String,
}

pub(super) fn manifest() -> anyhow::Result<Manifest> {
    toml::from_str(include_str!("../../../kernels/cuda/kernels.toml")).context("kernels.toml")
}

/// Floats of 2⁻⁷ or so: neither zero nor denormal, and finite.
fn filled(device: &CudaDevice, bytes: usize) -> Result<DeviceBuffer, DeviceError> {
    let buffer = device.allocate(bytes)?;
    let chunk = vec![0x3c; CHUNK.min(bytes)];
    for offset in (0..bytes).step_by(CHUNK) {
        device.write(&buffer, offset, &chunk[..CHUNK.min(bytes - offset)])?;
    }
    Ok(buffer)
}

fn written(device: &CudaDevice, bytes: &[u8]) -> Result<DeviceBuffer, DeviceError> {
    let buffer = device.allocate(bytes.len())?;
    device.write(&buffer, 0, bytes)?;
    Ok(buffer)
}

fn repeat(
    device: &CudaDevice,
    name: &'static str,
    bytes_per_elem: f64,
    work: impl Fn() -> Result<(), DeviceError>,
) -> anyhow::Result<Rate> {
    for _ in 0..WARM_UP {
        work()?;
    }
    let mut times = Vec::with_capacity(REPETITIONS);
    for _ in 0..REPETITIONS {
        times.push(device.measure(&work)?);
    }
    times.sort();
    let time = times[times.len() / 2];
    ensure!(!time.is_zero(), "the card says it took no time");
    Ok(Rate { name, elems: ELEMS as u64, bytes_per_elem, time, repetitions: REPETITIONS })
}

/// 256 MiB a buffer of floats; the largest cache of a card is about 128 MB.
const ELEMS: usize = 64 << 20;
const SET_BY_NAME: [&str; 10] =
    ["n", "begin", "stochastic", "stream", "segments", "copy", "step", "ends", "decays", "sum"];
const AS_LONG_AS_THE_ELEMENTS: [&str; 12] = [
    "params", "gradient", "first", "second", "out", "change", "anchor", "velocity", "values", "residual",
    "payload", "decoded",
];
const CHUNK: usize = 16 << 20;
const WARM_UP: usize = 3;
const REPETITIONS: usize = 21;

#[cfg(test)]
mod tests {
    use hcrun_kernels::launch::KERNELS;

    use super::*;

    #[test]
    fn the_kernels_with_bounds_can_be_measured() {
        let manifest = manifest().unwrap();
        assert_eq!(manifest.kernels.len(), KERNELS.len());
        for name in ["adamw", "pack_int8"] {
            let described = manifest.kernels.iter().find(|described| described.name == name).unwrap();
            assert!(described.is_measured(), "{name}");
        }
        let top_k = manifest.kernels.iter().find(|described| described.name == "top_k_write").unwrap();
        assert!(!top_k.is_measured());
    }
}
