//! How long kernels take, on buffers much larger than any cache of a card.

use std::time::Duration;

use anyhow::ensure;
use hcrun_kernels::cuda::CudaDevice;
use hcrun_kernels::device::{Address, Device, DeviceBuffer, DeviceError};
use hcrun_kernels::launch::Adamw;
use hcrun_kernels::step_block::StepBlock;
use hcrun_kernels::update::{Moments, StateRounding};

/// A kernel's measurement: its buffers, then repetitions.
pub(super) struct Measurement {
    /// Its name in the manifest.
    pub(super) kernel: &'static str,
    pub(super) run: fn(&CudaDevice) -> anyhow::Result<Rate>,
}

pub(super) const ALL: &[Measurement] = &[Measurement { kernel: "adamw", run: adamw }];

#[derive(Debug, Clone, Copy)]
pub(super) struct Rate {
    pub(super) name: &'static str,
    pub(super) elems: u64,
    pub(super) bytes_per_elem: u64,
    /// The median.
    pub(super) time: Duration,
    pub(super) repetitions: usize,
}

impl Rate {
    pub(super) fn bytes_per_s(&self) -> f64 {
        (self.elems * self.bytes_per_elem) as f64 / self.time.as_secs_f64()
    }
}

/// What the card's own copy reaches: each element is read and written.
pub(super) fn copy(device: &CudaDevice) -> anyhow::Result<Rate> {
    let from = filled(device, ELEMS * 4)?;
    let to = device.allocate(ELEMS * 4)?;
    repeat(device, "copy", 8, || device.copy(&from, &to, ELEMS * 4))
}

/// With f32 states and without a copy in bf16: parameter and gradient read, states read and written, parameter
/// written.
fn adamw(device: &CudaDevice) -> anyhow::Result<Rate> {
    let [params, gradient, first, second, out] = [0; 5]
        .map(|_| filled(device, ELEMS * 4))
        .into_iter()
        .collect::<Result<Vec<_>, _>>()?
        .try_into()
        .map_err(|_| anyhow::anyhow!("five buffers"))?;
    let moments = Moments { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, step_size: 1e-3, correction2_sqrt: 0.9 };
    let step = StepBlock {
        learning_rate: 1e-3,
        gradient_scale: 1.0,
        moments,
        momentum: 0.0,
        skip: false,
        rounding: StateRounding::Nearest,
    };
    let words: Vec<u8> = step.words().iter().flat_map(|word| word.to_le_bytes()).collect();
    let block = written(device, &words)?;
    let ends = written(device, &(ELEMS as u64).to_le_bytes())?;
    let decays = written(device, &0.1f32.to_le_bytes())?;
    let launch = Adamw {
        n: ELEMS as u64,
        begin: 0,
        step: block.at(0),
        segments: 1,
        ends: ends.at(0),
        decays: decays.at(0),
        params: params.at(0),
        gradient: gradient.at(0),
        first: first.at(0),
        second: second.at(0),
        out: out.at(0),
        copy: Address::NULL,
    };
    repeat(device, "adamw", 28, || launch.launch(device))
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
    bytes_per_elem: u64,
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
const CHUNK: usize = 16 << 20;
const WARM_UP: usize = 3;
const REPETITIONS: usize = 21;
