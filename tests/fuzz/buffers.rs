//! Payloads of any length, in any pieces, for buffers of any type.

use hcrun_kernels::host_buffers::{Element, HostBuffers, bf16, f16};
use hcrun_protocol::buffers::{BufferError, Buffers, Operand};
use hcrun_protocol::dtype::{Codec, DType, ReduceOp};
use hcrun_protocol::schedule::Level;

use crate::Bytes;

/// The rest of the input is the payload, read anew for each operand.
pub(crate) fn run(input: &[u8]) {
    let mut bytes = Bytes(input);
    match DType::ALL[bytes.below(DType::ALL.len())] {
        DType::F32 => reduce::<f32>(bytes),
        DType::F64 => reduce::<f64>(bytes),
        DType::F16 => reduce::<f16>(bytes),
        DType::Bf16 => reduce::<bf16>(bytes),
        DType::I8 => reduce::<i8>(bytes),
        DType::U8 => reduce::<u8>(bytes),
        DType::I32 => reduce::<i32>(bytes),
        DType::U32 => reduce::<u32>(bytes),
        DType::I64 => reduce::<i64>(bytes),
        DType::U64 => reduce::<u64>(bytes),
    }
}

fn reduce<T: Element>(mut bytes: Bytes<'_>) {
    let op = ReduceOp::ALL[bytes.below(ReduceOp::ALL.len())];
    if !op.takes(T::DTYPE) {
        return;
    }
    let elems = bytes.word() % 2_000;
    let own = vec![T::default(); elems];
    let out_of_place = bytes.below(2) == 1;
    let mut buffers = match out_of_place {
        true => HostBuffers::out_of_place(own.clone(), own),
        false => HostBuffers::new(own),
    }
    .op(op);
    let terms: Vec<Option<Codec>> = (0..1 + bytes.below(4))
        .map(|_| match bytes.below(3) {
            0 => None,
            1 => Some(Codec::None),
            _ => Some(Codec::ALL[bytes.below(Codec::ALL.len())]),
        })
        .collect();
    // Ranges begin at whole blocks: schedules are built so. Their ends may lie anywhere, also in front.
    let block = terms.iter().flatten().map(|codec| codec.block_elems()).max().unwrap_or(1);
    let start = bytes.word() % (elems + 2) / block * block;
    let range = match bytes.below(8) {
        0 => start..start.saturating_sub(1),
        1 => start..usize::MAX,
        _ => start..start + bytes.word() % (elems + 2 - start.min(elems)),
    };
    // Mostly as long as it should be.
    let (exact, by) = (bytes.below(8) > 0, bytes.word());
    let cuts: Vec<usize> = (0..bytes.below(6)).map(|_| bytes.word()).collect();
    let divisor = (op == ReduceOp::Average && bytes.below(2) == 1).then(|| 1 + bytes.below(9));
    let payload = |codec: &Codec| {
        let length = if exact { codec.payload_bytes(T::DTYPE, range.len()).min(1 << 16) } else { by };
        bytes.0.iter().copied().cycle().chain(std::iter::repeat(0)).take(length).collect::<Vec<u8>>()
    };
    let payloads: Vec<Vec<u8>> =
        terms.iter().map(|codec| codec.as_ref().map_or(Vec::new(), payload)).collect();
    let pieces: Vec<Vec<&[u8]>> = payloads.iter().map(|payload| cut(payload, &cuts)).collect();
    let operands: Vec<Operand<'_>> = terms
        .iter()
        .zip(&pieces)
        .map(|(term, pieces)| match term {
            None => Operand::Own(Level(0)),
            Some(codec) => Operand::Received { codec: *codec, pieces },
        })
        .collect();
    let fits = range.start <= range.end && range.end <= elems;
    let wrong = |(term, payload): (&Option<Codec>, &Vec<u8>)| {
        term.is_some_and(|codec| {
            let packable = !codec.is_lossy() || T::DTYPE == DType::F32;
            !packable || payload.len() != codec.payload_bytes(T::DTYPE, range.len())
        })
    };
    let any_wrong = terms.iter().zip(&payloads).any(wrong);
    match buffers.reduce(Level(1), range.clone(), &operands, divisor) {
        Ok(()) => assert!(fits && !any_wrong, "{range:?} of {elems} with a payload of another length"),
        Err(BufferError::Range { .. }) => assert!(!fits, "{range:?} of {elems}"),
        Err(BufferError::Length { .. }) => assert!(any_wrong),
        Err(error @ BufferError::Memory { .. }) => panic!("memory of the host: {error}"),
    }
    assert_eq!(buffers.elems(), elems);
}

/// In pieces that end at the cuts, empty ones among them.
fn cut<'a>(payload: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
    let mut bounds: Vec<usize> = cuts.iter().map(|cut| cut % (payload.len() + 1)).collect();
    bounds.extend([0, payload.len()]);
    bounds.sort_unstable();
    bounds.windows(2).map(|pair| &payload[pair[0]..pair[1]]).collect()
}
