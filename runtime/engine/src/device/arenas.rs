//! What belongs to the model whatever the batch: parameters, their copy in bf16, and their gradient.

use std::ops::Range;
use std::sync::Arc;

use hcrun_kernels::device::{Address, Device, DeviceBuffer, DeviceError};
use hcrun_kernels::launch;

/// Each as long as the arena.
pub(super) struct Arenas {
    parameters: Arc<DeviceBuffer>,
    /// What an update makes of them.
    next: Arc<DeviceBuffer>,
    /// The nearest bf16 to each parameter: factors of matrix products.
    narrow: DeviceBuffer,
    gradient: Arc<DeviceBuffer>,
    elems: usize,
}

impl Arenas {
    /// With parameters of zero.
    pub(super) fn new(device: &dyn Device, elems: usize) -> Result<Arenas, DeviceError> {
        let arena = || Ok::<_, DeviceError>(Arc::new(device.allocate(size_of::<f32>() * elems)?));
        let (parameters, next, gradient) = (arena()?, arena()?, arena()?);
        let narrow = device.allocate(size_of::<u16>() * elems)?;
        let arenas = Arenas { parameters, next, narrow, gradient, elems };
        clear(device, &arenas.parameters, elems)?;
        launch::ToBf16 { n: elems as u64, x: arenas.parameters.at(0), y: arenas.narrow.at(0) }
            .launch(device)?;
        Ok(arenas)
    }

    pub(super) fn parameters(&self, range: &Range<usize>) -> Address<f32> {
        self.parameters.at(size_of::<f32>() * range.start)
    }

    pub(super) fn narrow(&self, range: &Range<usize>) -> Address<u16> {
        self.narrow.at(size_of::<u16>() * range.start)
    }

    pub(super) fn gradient(&self, range: &Range<usize>) -> Address<f32> {
        self.gradient.at(size_of::<f32>() * range.start)
    }

    pub(super) fn clear_gradient(&self, device: &dyn Device) -> Result<(), DeviceError> {
        clear(device, &self.gradient, self.elems)
    }

    pub(super) fn next(&self, range: &Range<usize>) -> Address<f32> {
        self.next.at(size_of::<f32>() * range.start)
    }

    /// The nearest bf16 to a part of the next parameters, which somebody else has written.
    pub(super) fn narrow_next(&self, device: &dyn Device, range: &Range<usize>) -> Result<(), DeviceError> {
        launch::ToBf16 { n: range.len() as u64, x: self.next(range), y: self.narrow(range) }.launch(device)
    }

    /// The next parameters become current, whole.
    pub(super) fn advance(&mut self) {
        std::mem::swap(&mut self.parameters, &mut self.next);
    }

    /// Where the exchange finds sums of gradients, and leaves them.
    pub(super) fn gradient_memory(&self) -> &Arc<DeviceBuffer> {
        &self.gradient
    }

    /// Where the exchange finds updated parameters, and leaves those of others.
    pub(super) fn next_memory(&self) -> &Arc<DeviceBuffer> {
        &self.next
    }

    pub(super) fn current_memory(&self) -> &Arc<DeviceBuffer> {
        &self.parameters
    }
}

pub(super) fn clear(device: &dyn Device, buffer: &DeviceBuffer, elems: usize) -> Result<(), DeviceError> {
    launch::Clear { n: elems as u64, words: buffer.at(0) }.launch(device)
}
