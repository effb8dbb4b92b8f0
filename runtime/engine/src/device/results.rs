//! Words that a device computes and the host waits for.

use hcrun_kernels::device::{Device, DeviceBuffer, DeviceError, HostBuffer};

pub(super) struct Results {
    device: DeviceBuffer,
    host: HostBuffer,
}

impl Results {
    pub(super) fn new(device: &dyn Device) -> Result<Results, DeviceError> {
        let bytes = size_of::<u64>();
        Ok(Results { device: device.allocate(bytes)?, host: device.allocate_host(bytes)? })
    }

    /// Room for so many words, with any content.
    pub(super) fn room(&mut self, device: &dyn Device, words: usize) -> Result<&DeviceBuffer, DeviceError> {
        let bytes = size_of::<u64>() * words;
        if bytes > self.device.bytes() {
            *self = Results { device: device.allocate(bytes)?, host: device.allocate_host(bytes)? };
        }
        Ok(&self.device)
    }

    /// The first words, once everything that was launched has ended.
    pub(super) fn read(&mut self, device: &dyn Device, words: usize) -> Result<&[u64], DeviceError> {
        let bytes = 0..size_of::<u64>() * words;
        let ticket = device.start_read(&self.device, 0, &mut self.host, bytes.clone())?;
        device.wait(ticket)?;
        Ok(bytemuck::cast_slice(self.host.read(bytes)))
    }
}
