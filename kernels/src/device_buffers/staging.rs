//! The way of payloads between a device and the wire.

use std::fmt;
use std::ops::Range;

use hcrun_protocol::buffers::{BufferError, Operand};
use hcrun_protocol::dtype::{Codec, DType, Packing};

use super::kernels::{self, Sum};
use crate::device::{Address, Device, DeviceBuffer, DeviceError, HostBuffer};
use crate::host_buffers::Position;
use crate::launch;
use crate::wire::Rounding;

/// Host memory that payloads pass through, and as much memory of the device: larger ones pass in parts.
pub const STAGING_BYTES: usize = 4 << 20;

/// A multiple of every codec's block.
const GRAIN_ELEMS: usize = 256;

/// Payloads in device memory begin at multiples, so that kernels read vectors.
const ALIGN_BYTES: usize = 16;

/// An order of its own on a device, with memory of a fixed size: what all rounds of one worker pass through. Whoever
/// holds it is the only one, and what was asked for has ended when a method returns.
pub struct Staging {
    device: Box<dyn Device>,
    host: HostBuffer,
    payloads: DeviceBuffer,
}

impl Staging {
    /// Beside everything else that the device does.
    ///
    /// # Errors
    /// If there is not enough memory, on the device or the host.
    pub fn new(device: &dyn Device) -> Result<Staging, DeviceError> {
        Staging::of(device, STAGING_BYTES)
    }

    /// With another size, of a few KiB at least.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn of(device: &dyn Device, bytes: usize) -> Result<Staging, DeviceError> {
        let device = device.beside()?;
        let (host, payloads) = (device.allocate_host(bytes)?, device.allocate(bytes)?);
        Ok(Staging { device, host, payloads })
    }

    pub(super) fn zeros(&self, elems: usize) -> Result<DeviceBuffer, DeviceError> {
        let zeros = self.device.allocate(size_of::<f32>() * elems)?;
        launch::Clear { n: elems as u64, words: zeros.at(0) }.launch(&*self.device)?;
        Ok(zeros)
    }

    /// Appends values as they are.
    pub(super) fn read_values(
        &mut self,
        memory: &DeviceBuffer,
        offset: usize,
        elems: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), DeviceError> {
        for part in parts(0..size_of::<f32>() * elems, self.host.bytes()) {
            let bytes = 0..part.len();
            let ticket =
                self.device.start_read(memory, offset + part.start, &mut self.host, bytes.clone())?;
            self.device.wait(ticket)?;
            out.extend_from_slice(self.host.read(bytes));
        }
        Ok(())
    }

    /// Appends the payload of a range of `values`, which hold afterwards what receivers decode.
    pub(super) fn read_packed(
        &mut self,
        values: Address<f32>,
        residual: Address<f32>,
        range: Range<usize>,
        packing: (Packing, Rounding),
        out: &mut Vec<u8>,
    ) -> Result<(), DeviceError> {
        let codec = packing.0.codec;
        for part in parts(range, self.host.bytes() / size_of::<f32>()) {
            kernels::pack(&*self.device, values, residual, &part, packing, &self.payloads)?;
            let bytes = 0..codec.payload_bytes(DType::F32, part.len());
            let ticket = self.device.start_read(&self.payloads, 0, &mut self.host, bytes.clone())?;
            self.device.wait(ticket)?;
            out.extend_from_slice(self.host.read(bytes));
        }
        Ok(())
    }

    /// Stores values that came as they are.
    pub(super) fn write_values(
        &mut self,
        memory: &DeviceBuffer,
        offset: usize,
        pieces: &[&[u8]],
    ) -> Result<(), DeviceError> {
        let total = pieces.iter().map(|piece| piece.len()).sum();
        let mut position = Position::default();
        for part in parts(0..total, self.host.bytes()) {
            let bytes = 0..part.len();
            position.fill(pieces, self.host.write(bytes.clone()));
            let ticket = self.device.start_write(&mut self.host, bytes, memory, offset + part.start)?;
            self.device.wait(ticket)?;
        }
        Ok(())
    }

    /// Combines operands, which are checked, in their order into a range of `values`.
    pub(super) fn reduce(
        &mut self,
        values: Address<f32>,
        range: Range<usize>,
        operands: &[Operand<'_>],
        divisor: Option<usize>,
    ) -> Result<(), BufferError> {
        let Received { codec, payloads, own_at } = received(operands)?;
        let count = payloads.len().max(1);
        let most = (self.host.bytes() / count).saturating_sub(ALIGN_BYTES) / size_of::<f32>();
        if most < GRAIN_ELEMS {
            return Err(BufferError::Memory { cause: format!("{count} payloads in one sum are too many") });
        }
        let mut positions = vec![Position::default(); payloads.len()];
        for part in parts(range, most) {
            let bytes = codec.payload_bytes(DType::F32, part.len());
            let stride_bytes = bytes.next_multiple_of(ALIGN_BYTES);
            for (index, (pieces, position)) in payloads.iter().zip(&mut positions).enumerate() {
                let start = stride_bytes * index;
                position.fill(pieces, self.host.write(start..start + bytes));
            }
            let staged = 0..stride_bytes * payloads.len();
            self.device.start_write(&mut self.host, staged, &self.payloads, 0)?;
            let sum = Sum {
                codec,
                payloads: u32::try_from(payloads.len()).unwrap_or(u32::MAX),
                stride_bytes,
                payload: &self.payloads,
                own_at,
                divisor: divisor.map_or(1.0, |divisor| divisor as f32),
            };
            sum.launch(&*self.device, values, &part)?;
            let ticket = self.device.mark()?;
            self.device.wait(ticket)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Staging {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Staging({})", self.device.name())
    }
}

struct Received<'a> {
    codec: Codec,
    payloads: Vec<&'a [&'a [u8]]>,
    own_at: Option<u32>,
}

/// Schedules pack all that is added at one place alike, and add own values once.
fn received<'a>(operands: &[Operand<'a>]) -> Result<Received<'a>, BufferError> {
    let refused = |cause: &str| Err(BufferError::Memory { cause: cause.to_owned() });
    let mut received = Received { codec: Codec::None, payloads: Vec::new(), own_at: None };
    for (index, operand) in operands.iter().enumerate() {
        match *operand {
            Operand::Own(_) if received.own_at.is_some() => return refused("own values are added twice"),
            Operand::Own(_) => received.own_at = Some(u32::try_from(index).unwrap_or(u32::MAX)),
            Operand::Received { codec, .. } if !received.payloads.is_empty() && codec != received.codec => {
                return refused("payloads of one sum are packed in two ways");
            }
            Operand::Received { codec, pieces } => {
                received.codec = codec;
                received.payloads.push(pieces);
            }
        }
    }
    Ok(received)
}

/// Cut at multiples of [`GRAIN_ELEMS`] from the start.
fn parts(range: Range<usize>, most: usize) -> impl Iterator<Item = Range<usize>> {
    let end = range.end;
    let most = most - most % GRAIN_ELEMS;
    range.step_by(most).map(move |start| start..end.min(start + most))
}
