//! Kernels that pass once over whole buffers: what each parameter is follows from its name.

use anyhow::Context;
use hcrun_kernels::device::{Argument, Device, Kernel};
use hcrun_protocol::dtype::{Codec, DType};

use super::{Described, Memory, Parameter, Setup, step};

/// Payloads of other ranks that a reduction adds to its own values.
const PAYLOADS: u32 = 3;

pub(super) fn setup(
    mut memory: Memory<'_>,
    described: &Described,
    kernel: &'static Kernel,
    elems: usize,
) -> anyhow::Result<Setup> {
    let mut arguments = Vec::new();
    for parameter in &described.params {
        let argument = argument(&mut memory, parameter, kernel, elems)?;
        arguments.push(argument.with_context(|| {
            format!("nothing says what `{}` of {} is in a measurement", parameter.name, kernel.name)
        })?);
    }
    let (bytes, counted) = traffic(described, kernel, elems)?;
    let launch = move |device: &dyn Device| kernel.start(device, elems as u64, &arguments);
    Ok(Setup::new(memory, (elems as u64, bytes), counted, launch))
}

/// None for what is not known here.
fn argument(
    memory: &mut Memory<'_>,
    parameter: &Parameter,
    kernel: &Kernel,
    elems: usize,
) -> anyhow::Result<Option<Argument>> {
    let address = match (parameter.name.as_str(), parameter.kind.as_str()) {
        ("n", "u64") => return Ok(Some(Argument::U64(elems as u64))),
        ("begin", "u64") => return Ok(Some(Argument::U64(0))),
        ("stochastic", "u32") => return Ok(Some(Argument::U32(0))),
        ("stream" | "segments", "u64") => return Ok(Some(Argument::U64(1))),
        ("payloads", "u32") => return Ok(Some(Argument::U32(PAYLOADS))),
        ("stride", "u64") => return Ok(Some(Argument::U64(stride(kernel, elems)?))),
        ("own_at", "u32") => return Ok(Some(Argument::U32(1))),
        ("add", "u32") => return Ok(Some(Argument::U32(0))),
        ("divisor", "f32") => return Ok(Some(Argument::F32(4.0))),
        // Results of activations, which differ from what they are computed of.
        ("y" | "dx", "*u16") => memory.repeated::<u16>(2 * elems, &[0; 1024])?.value(),
        ("words", "*u32") => memory.filled::<u32>(elems)?.value(),
        // Not part of the manifest's bytes.
        ("copy", "*u16") => return Ok(Some(Argument::Address(0))),
        ("step", "*u32") => memory.written(&step())?.value(),
        ("ends", "*u64") => memory.written(&[elems as u64])?.value(),
        ("decays", "*f32") => memory.written(&[0.1f32])?.value(),
        ("sum", "*u64") => memory.written(&[0u64])?.value(),
        ("payload", _) => {
            let of_one = payload_bytes(kernel, elems)?;
            let payloads = if is_reduction(kernel) { PAYLOADS as usize } else { 1 };
            memory.filled::<u8>(payloads * of_one)?.value()
        }
        ("values" | "gradient" | "change" | "own", "*f32") => memory.varied(elems)?.value(),
        (name, kind) if AS_LONG_AS_THE_ARENA.contains(&name) => match kind {
            "*u16" => memory.filled::<u16>(elems)?.value(),
            "*f32" => memory.filled::<f32>(elems)?.value(),
            _ => return Ok(None),
        },
        // What others hold decides what is accessed: any content would do harm.
        _ => return Ok(None),
    };
    Ok(Some(Argument::Address(address)))
}

fn traffic(described: &Described, kernel: &Kernel, elems: usize) -> anyhow::Result<(u64, String)> {
    if is_reduction(kernel) {
        let bytes = PAYLOADS as usize * payload_bytes(kernel, elems)? + 8 * elems;
        return Ok((bytes as u64, format!("{PAYLOADS} payloads and the own values read, the sum written")));
    }
    let of_each = described.bytes_per_elem;
    anyhow::ensure!(of_each > 0.0, "kernels.toml has no bytes_per_elem of {}", kernel.name);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive, below 2^53")]
    let bytes = (elems as f64 * of_each) as u64;
    Ok((bytes, format!("{of_each} an element, as kernels.toml says")))
}

fn is_reduction(kernel: &Kernel) -> bool {
    kernel.name.starts_with("reduce_")
}

/// From one payload to the next, in words of the codec.
fn stride(kernel: &Kernel, elems: usize) -> anyhow::Result<u64> {
    let word = match codec(kernel)? {
        Codec::None => 4,
        Codec::Bf16 | Codec::F16 => 2,
        Codec::Int8 | Codec::Int4 => 1,
    };
    Ok((payload_bytes(kernel, elems)? / word) as u64)
}

fn payload_bytes(kernel: &Kernel, elems: usize) -> anyhow::Result<usize> {
    Ok(codec(kernel)?.payload_bytes(DType::F32, elems))
}

fn codec(kernel: &Kernel) -> anyhow::Result<Codec> {
    let codecs = [
        ("_f32", Codec::None),
        ("_bf16", Codec::Bf16),
        ("_f16", Codec::F16),
        ("_int8", Codec::Int8),
        ("_int4", Codec::Int4),
    ];
    let found = codecs.into_iter().find(|(suffix, _)| kernel.name.ends_with(suffix));
    found.map(|(_, codec)| codec).with_context(|| format!("{} names no codec", kernel.name))
}

const AS_LONG_AS_THE_ARENA: [&str; 13] = [
    "params", "first", "second", "out", "anchor", "velocity", "values", "residual", "decoded", "x", "a", "b",
    "dy",
];
