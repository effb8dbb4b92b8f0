//! What belongs to the model whatever the batch: parameters, their copy in bf16, and their gradient.

use std::ops::Range;

use hcrun_kernels::device::{Address, Device, DeviceBuffer, DeviceError, HostBuffer, Ticket};
use hcrun_kernels::launch;

/// Each as long as the arena.
pub(super) struct Arenas {
    parameters: DeviceBuffer,
    /// What an update makes of them.
    next: DeviceBuffer,
    /// The nearest bf16 to each parameter: factors of matrix products.
    narrow: DeviceBuffer,
    gradient: DeviceBuffer,
    elems: usize,
}

impl Arenas {
    /// With parameters of zero.
    pub(super) fn new(device: &dyn Device, elems: usize) -> Result<Arenas, DeviceError> {
        let parameters = device.allocate(size_of::<f32>() * elems)?;
        let next = device.allocate(size_of::<f32>() * elems)?;
        let narrow = device.allocate(size_of::<u16>() * elems)?;
        let gradient = device.allocate(size_of::<f32>() * elems)?;
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

    /// Starts copying a part of the next parameters from the same place of host memory.
    pub(super) fn begin_write_next(
        &self,
        device: &dyn Device,
        host: &mut HostBuffer,
        range: &Range<usize>,
    ) -> Result<(), DeviceError> {
        let bytes = bytes_of(range);
        device.start_write(host, bytes.clone(), &self.next, bytes.start)?;
        launch::ToBf16 { n: range.len() as u64, x: self.next(range), y: self.narrow(range) }.launch(device)
    }

    /// Starts copying a part of the next parameters into the same place of host memory.
    pub(super) fn begin_read_next(
        &self,
        device: &dyn Device,
        host: &mut HostBuffer,
        range: &Range<usize>,
    ) -> Result<Ticket, DeviceError> {
        let bytes = bytes_of(range);
        device.start_read(&self.next, bytes.start, host, bytes)
    }

    /// Starts copying a part of a gradient from the same place of host memory.
    pub(super) fn begin_write_gradient(
        &self,
        device: &dyn Device,
        host: &mut HostBuffer,
        range: &Range<usize>,
    ) -> Result<(), DeviceError> {
        let bytes = bytes_of(range);
        device.start_write(host, bytes.clone(), &self.gradient, bytes.start)?;
        Ok(())
    }

    /// The next parameters become current, whole.
    pub(super) fn advance(&mut self) {
        std::mem::swap(&mut self.parameters, &mut self.next);
    }

    /// Starts copying a part of the gradient into the same place of host memory.
    pub(super) fn begin_read_gradient(
        &self,
        device: &dyn Device,
        host: &mut HostBuffer,
        range: Range<usize>,
    ) -> Result<Ticket, DeviceError> {
        let bytes = bytes_of(&range);
        device.start_read(&self.gradient, bytes.start, host, bytes)
    }
}

pub(super) fn clear(device: &dyn Device, buffer: &DeviceBuffer, elems: usize) -> Result<(), DeviceError> {
    launch::Clear { n: elems as u64, words: buffer.at(0) }.launch(device)
}

/// Of a range of f32.
pub(super) fn bytes_of(range: &Range<usize>) -> Range<usize> {
    size_of::<f32>() * range.start..size_of::<f32>() * range.end
}
