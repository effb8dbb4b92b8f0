//! Rounds in the memory of a device, beside rounds in host memory.

use std::sync::{Arc, Mutex};

use hcrun_kernels::device::{Device, DeviceBuffer};
use hcrun_kernels::device_buffers::{DeviceBuffers, DeviceFeedback, Staging};
use hcrun_kernels::host_buffers::{Feedback, HostBuffers};
use hcrun_kernels::wire::Rounding;
use hcrun_protocol::Rank;
use hcrun_protocol::buffers::{BufferError, Buffers, Operand};
use hcrun_protocol::dtype::{Codec, DType, Packing, ReduceOp};
use hcrun_protocol::schedule::{Level, Phase};

use crate::placed::same;
use crate::values::{any, finite};
use crate::{Case, Failure};

pub(crate) const CASES: &[Case] = &[
    Case { name: "device_buffers_pack_as_host_buffers_do", run: packed },
    Case { name: "device_buffers_add_as_host_buffers_do", run: added },
    Case { name: "what_does_not_fit_device_buffers_is_refused_as_by_host_buffers", run: refused },
    Case { name: "device_buffers_touch_nothing_beside_their_range", run: beside },
];

const CODECS: [Codec; 5] = [Codec::None, Codec::Bf16, Codec::F16, Codec::Int8, Codec::Int4];
const ELEMS: usize = 3001;
/// Before the range.
const START: usize = 13;
/// So small that a segment passes in parts.
const STAGING_BYTES: usize = 4 << 10;

/// A range of device memory, filled.
struct Memory {
    values: Arc<DeviceBuffer>,
    staging: Arc<Mutex<Staging>>,
}

impl Memory {
    fn new(device: &dyn Device, staging_bytes: usize) -> Result<Memory, Failure> {
        let values = Arc::new(device.allocate(4 * (START + ELEMS + 7))?);
        device.write(&values, 0, bytemuck::cast_slice(&[7.0_f32; START + ELEMS + 7]))?;
        Ok(Memory { values, staging: Arc::new(Mutex::new(Staging::of(device, staging_bytes)?)) })
    }

    fn fill(&self, device: &dyn Device, values: &[f32]) -> Result<DeviceBuffers, Failure> {
        device.write(&self.values, 4 * START, bytemuck::cast_slice(values))?;
        let (values, staging) = (Arc::clone(&self.values), Arc::clone(&self.staging));
        Ok(DeviceBuffers::new(values, START..START + ELEMS, staging))
    }

    fn read(&self, device: &dyn Device) -> Result<Vec<u32>, Failure> {
        let mut values = vec![0; ELEMS];
        device.read(&self.values, 4 * START, bytemuck::cast_slice_mut(&mut values))?;
        Ok(values)
    }
}

fn bits(host: HostBuffers) -> Result<(Vec<u32>, Feedback), Failure> {
    let parts = host.into_parts::<f32>().ok_or_else(|| Failure::Other("they hold f32".to_owned()))?;
    let bits = parts.result.iter().map(|value| value.to_bits()).collect();
    Ok((bits, parts.feedback.unwrap_or_default()))
}

fn failed(error: BufferError) -> Failure {
    Failure::Other(error.to_string())
}

/// Three rounds with feedback, in two phases, in segments.
fn packed(device: &dyn Device) -> Result<(), Failure> {
    let memory = Memory::new(device, STAGING_BYTES)?;
    for (codec, rounding) in CODECS
        .into_iter()
        .flat_map(|codec| [(codec, Rounding::Nearest), (codec, Rounding::Stochastic { key: 9 })])
    {
        let (mut on_host, mut on_device) = (Feedback::default(), DeviceFeedback::default());
        for round in 0..3 {
            let values = if round == 1 { any(round, ELEMS) } else { finite(round, ELEMS) };
            let mut host = HostBuffers::new(values.clone()).rounding(rounding).feedback(on_host);
            let mut there = memory.fill(device, &values)?.rounding(rounding).feedback(on_device);
            for (range, phase) in [(0..2048, 0), (2048..ELEMS, 0), (0..2048, 1)] {
                let packing = Packing { codec, phase: Phase(phase), source: Rank(3) };
                let (mut expected, mut got) = (vec![1, 2, 3], vec![1, 2, 3]);
                host.encode(Level(0), range.clone(), packing, &mut expected).map_err(failed)?;
                there.encode(Level(0), range.clone(), packing, &mut got).map_err(failed)?;
                same(&format!("{codec}, {rounding:?}, {range:?}, round {round}"), &got, &expected)?;
            }
            on_device = there.into_feedback();
            let (bits, feedback) = bits(host)?;
            on_host = feedback;
            same(&format!("{codec}, {rounding:?}, round {round}: level"), &memory.read(device)?, &bits)?;
        }
    }
    Ok(())
}

/// Payloads of other ranks in pieces that cut elements and blocks, with and without own values.
fn added(device: &dyn Device) -> Result<(), Failure> {
    let memory = Memory::new(device, 16 << 10)?;
    for codec in CODECS {
        for (ranks, own_at, op) in [
            (1, None, ReduceOp::Sum),
            (1, None, ReduceOp::Average),
            (1, Some(0), ReduceOp::Sum),
            (1, Some(1), ReduceOp::Average),
            (0, Some(0), ReduceOp::Sum),
            (5, Some(2), ReduceOp::Sum),
            (4, None, ReduceOp::Average),
        ] {
            let own = any(50, ELEMS);
            let (mut host, mut there) =
                (HostBuffers::new(own.clone()).op(op), memory.fill(device, &own)?.op(op));
            for range in [0..1024, 1024..ELEMS] {
                let payload = |rank: u64| {
                    let mut payload = Vec::new();
                    let packing = Packing { codec, phase: Phase(0), source: Rank(1) };
                    let mut sender = HostBuffers::new(any(rank, ELEMS));
                    sender.encode(Level(0), range.clone(), packing, &mut payload).map_err(failed)?;
                    Ok(payload)
                };
                let payloads = (0..ranks).map(payload).collect::<Result<Vec<_>, Failure>>()?;
                let pieces: Vec<Vec<&[u8]>> =
                    payloads.iter().map(|payload| payload.chunks(1001).collect()).collect();
                let mut operands: Vec<Operand<'_>> =
                    pieces.iter().map(|pieces| Operand::Received { codec, pieces }).collect();
                if let Some(at) = own_at {
                    operands.insert(at, Operand::Own(Level(0)));
                }
                let divisor = (op == ReduceOp::Average).then_some(operands.len());
                host.reduce(Level(0), range.clone(), &operands, divisor).map_err(failed)?;
                there.reduce(Level(0), range.clone(), &operands, divisor).map_err(failed)?;
            }
            let what = format!("{codec}, {ranks} payloads, own {own_at:?}, {op:?}");
            same(&what, &memory.read(device)?, &bits(host)?.0)?;
        }
    }
    Ok(())
}

fn refused(device: &dyn Device) -> Result<(), Failure> {
    let memory = Memory::new(device, STAGING_BYTES)?;
    let values = finite(1, ELEMS);
    for (codec, range, bytes) in [
        (Codec::None, 0..256, 1023),
        (Codec::None, 0..256, 1025),
        (Codec::Int8, 0..256, 0),
        (Codec::Bf16, 0..256, 513),
        (Codec::None, ELEMS - 1..ELEMS + 1, 8),
    ] {
        let payload = vec![0; bytes];
        let pieces = [&payload[..]];
        let operands = [Operand::Received { codec, pieces: &pieces }];
        let mut there = memory.fill(device, &values)?;
        let mut host = HostBuffers::new(values.clone());
        let got = there.reduce(Level(0), range.clone(), &operands, None);
        let expected = host.reduce(Level(0), range.clone(), &operands, None);
        if got != expected || got.is_ok() {
            return Err(Failure::Other(format!("{codec}, {range:?}: {got:?} instead of {expected:?}")));
        }
        same("what was refused changed nothing", &memory.read(device)?, &bits(host)?.0)?;
    }
    Ok(())
}

fn beside(device: &dyn Device) -> Result<(), Failure> {
    let memory = Memory::new(device, STAGING_BYTES)?;
    for codec in CODECS {
        let mut there = memory.fill(device, &finite(4, ELEMS))?;
        let packing = Packing { codec, phase: Phase(0), source: Rank(0) };
        let mut payload = Vec::new();
        there.encode(Level(0), 0..ELEMS, packing, &mut payload).map_err(failed)?;
        let pieces = [&payload[..]];
        let operands = [Operand::Received { codec, pieces: &pieces }, Operand::Own(Level(0))];
        there.reduce(Level(0), 0..ELEMS, &operands, None).map_err(failed)?;
        there.reduce(Level(0), 0..ELEMS, &operands[..1], None).map_err(failed)?;
        debug_assert_eq!(payload.len(), codec.payload_bytes(DType::F32, ELEMS));
    }
    let mut all = vec![0.0_f32; START + ELEMS + 7];
    device.read(&memory.values, 0, bytemuck::cast_slice_mut(&mut all))?;
    let outside: Vec<f32> = all[..START].iter().chain(&all[START + ELEMS..]).copied().collect();
    same("what lies beside", &outside, &[7.0; START + 7])
}
