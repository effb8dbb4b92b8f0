//! Elements in a device's memory, between margins that must stay as they are.

use bytemuck::Pod;
use hcrun_kernels::device::{Address, Device, DeviceBuffer, DeviceError};

use crate::Failure;

/// Elements on either side, and what their bytes are.
const MARGIN_ELEMS: usize = 16;
const MARGIN: u8 = 0x5c;

pub(crate) struct Placed<T> {
    buffer: DeviceBuffer,
    /// Elements of margin before the first one.
    before: usize,
    values: Vec<T>,
}

impl<T: Bits> Placed<T> {
    /// With `shift` elements more than a multiple of 16 before the first: 0 is aligned for any access.
    pub(crate) fn new(device: &dyn Device, values: &[T], shift: usize) -> Result<Placed<T>, DeviceError> {
        let before = MARGIN_ELEMS + shift;
        let bytes = size_of::<T>() * (before + values.len() + MARGIN_ELEMS);
        let buffer = device.allocate(bytes)?;
        let mut content = vec![MARGIN; bytes];
        let start = size_of::<T>() * before;
        content[start..start + size_of_val(values)].copy_from_slice(bytemuck::cast_slice(values));
        device.write(&buffer, 0, &content)?;
        Ok(Placed { buffer, before, values: values.to_vec() })
    }

    /// What was placed.
    pub(crate) fn values(&self) -> &[T] {
        &self.values
    }

    /// Of the first element.
    pub(crate) fn address(&self) -> Address<T> {
        self.buffer.at(size_of::<T>() * self.before)
    }

    pub(crate) fn at(&self, index: usize) -> Address<T> {
        self.buffer.at(size_of::<T>() * (self.before + index))
    }

    /// From a byte behind the first element on, as elements of another type.
    pub(crate) fn address_as<U>(&self, offset_bytes: usize) -> Address<U> {
        self.buffer.at(size_of::<T>() * self.before + offset_bytes)
    }

    /// # Errors
    /// If the device fails, or something was written to a margin.
    pub(crate) fn read(&self, device: &dyn Device, what: &str) -> Result<Vec<T>, Failure> {
        let mut content = vec![0; self.buffer.bytes()];
        device.read(&self.buffer, 0, &mut content)?;
        let start = size_of::<T>() * self.before;
        let end = start + size_of::<T>() * self.values.len();
        let beside = (0..start).chain(end..content.len()).find(|byte| content[*byte] != MARGIN);
        if let Some(byte) = beside {
            return Err(Failure::Beside { what: what.to_owned(), byte });
        }
        let mut values = vec![T::zeroed(); self.values.len()];
        bytemuck::cast_slice_mut(&mut values).copy_from_slice(&content[start..end]);
        Ok(values)
    }

    /// That the device holds these bits now; NaN equals NaN whatever its bits.
    pub(crate) fn expect(&self, device: &dyn Device, what: &str, cpu: &[T]) -> Result<(), Failure> {
        same(what, &self.read(device, what)?, cpu)
    }

    /// That the device holds what was placed.
    pub(crate) fn expect_unchanged(&self, device: &dyn Device, what: &str) -> Result<(), Failure> {
        self.expect(device, what, &self.values)
    }
}

/// By the crate `half`, which is another implementation.
pub(crate) fn nearest_bf16(value: f32) -> u16 {
    if value.is_nan() { 0x7fc0 } else { half::bf16::from_f32(value).to_bits() }
}

/// # Errors
/// With the first element that differs.
pub(crate) fn same<T: Bits>(what: &str, device: &[T], cpu: &[T]) -> Result<(), Failure> {
    if device.len() != cpu.len() {
        return Err(Failure::Other(format!("{what}: {} elements, on the CPU {}", device.len(), cpu.len())));
    }
    match device.iter().zip(cpu).position(|(device, cpu)| !device.same(cpu)) {
        None => Ok(()),
        Some(index) => Err(Failure::Differs {
            what: what.to_owned(),
            index,
            device: device[index].describe(),
            cpu: cpu[index].describe(),
        }),
    }
}

/// Elements that are compared by their bits.
pub(crate) trait Bits: Pod {
    fn same(&self, other: &Self) -> bool;
    fn describe(&self) -> String;
}

macro_rules! integers {
    ($($type:ty),*) => {$(
        impl Bits for $type {
            fn same(&self, other: &Self) -> bool {
                self == other
            }

            fn describe(&self) -> String {
                format!("{self:#x}")
            }
        }
    )*};
}

macro_rules! floats {
    ($($type:ty),*) => {$(
        impl Bits for $type {
            fn same(&self, other: &Self) -> bool {
                self.to_bits() == other.to_bits() || (self.is_nan() && other.is_nan())
            }

            fn describe(&self) -> String {
                format!("{self:e} ({:#x})", self.to_bits())
            }
        }
    )*};
}

integers!(u8, i8, u16, u32, u64);
floats!(f32, f64);
