//! How long kernels take, on buffers much larger than any cache of a card.

use std::time::Duration;

use anyhow::ensure;
use hcrun_kernels::cuda::CudaDevice;
use hcrun_kernels::device::{Device, DeviceError, Kernel};

use super::setups::{self, Setup};

#[derive(Debug, Clone)]
pub(super) struct Rate {
    pub(super) name: &'static str,
    pub(super) elems: u64,
    /// What one launch must read and write.
    pub(super) bytes: u64,
    /// Of what these bytes are the sum.
    pub(super) counted: String,
    /// The median.
    pub(super) time: Duration,
    pub(super) repetitions: usize,
}

impl Rate {
    pub(super) fn bytes_per_s(&self) -> f64 {
        self.bytes as f64 / self.time.as_secs_f64()
    }
}

/// What the card's own copy reaches: each element is read and written.
pub(super) fn copy(device: &CudaDevice, elems: usize) -> anyhow::Result<Rate> {
    let (from, to) = (device.allocate(elems * 4)?, device.allocate(elems * 4)?);
    let time = median(device, || Ok(()), || device.copy(&from, &to, elems * 4))?;
    let (elems, counted) = (elems as u64, "8 an element".to_owned());
    Ok(Rate { name: "copy", elems, bytes: 8 * elems, counted, time, repetitions: REPETITIONS })
}

pub(super) fn kernel(device: &CudaDevice, kernel: &'static Kernel, elems: usize) -> anyhow::Result<Rate> {
    of_setup(device, kernel, setups::setup(device, kernel, elems)?)
}

/// What the device's library takes for the same as a kernel.
pub(super) fn by_library(device: &CudaDevice, kernel: &'static Kernel, elems: usize) -> anyhow::Result<Rate> {
    // Checks may have asked for others.
    let refused = device.refused_products().len();
    let rate = of_setup(device, kernel, setups::by_library(device, kernel, elems)?)?;
    ensure!(device.refused_products().len() == refused, "cuBLASLt leaves this shape to our kernels");
    Ok(rate)
}

fn of_setup(device: &CudaDevice, kernel: &'static Kernel, setup: Setup) -> anyhow::Result<Rate> {
    let time = median(device, || setup.restore(device), || setup.launch(device))?;
    let (elems, bytes, counted) = (setup.elems, setup.bytes, setup.counted.clone());
    Ok(Rate { name: kernel.name, elems, bytes, counted, time, repetitions: REPETITIONS })
}

/// Of what lies between two events; `before` is not part of it.
fn median(
    device: &CudaDevice,
    before: impl Fn() -> Result<(), DeviceError>,
    work: impl Fn() -> Result<(), DeviceError>,
) -> anyhow::Result<Duration> {
    let mut times = Vec::with_capacity(REPETITIONS);
    for repetition in 0..WARM_UP + REPETITIONS {
        before()?;
        let time = device.measure(&work)?;
        if repetition >= WARM_UP {
            times.push(time);
        }
    }
    times.sort();
    let time = times[times.len() / 2];
    ensure!(!time.is_zero(), "the card says it took no time");
    Ok(time)
}

/// 256 MiB a buffer of floats; the largest cache of a card is about 128 MB.
pub(super) const ELEMS: usize = 64 << 20;
const WARM_UP: usize = 3;
const REPETITIONS: usize = 21;
