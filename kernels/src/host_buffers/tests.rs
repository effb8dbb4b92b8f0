//! Every element type and operation against a plain loop, and what holds for all of them.

#![expect(clippy::cast_possible_truncation, reason = "random values are cut to size")]

use hcrun_protocol::dtype::Codec;
use hcrun_protocol::schedule::Phase;
use hcrun_protocol::{Prng, Rank};
use proptest::prelude::*;

use super::*;
use crate::simd::tests::{Case, same_at_every_level};

const OWN: Operand<'static> = Operand::Own(Level(0));
const LOSSY: [Codec; 4] = [Codec::Bf16, Codec::F16, Codec::Int8, Codec::Int4];

/// What anyone can read, without the code under test.
trait Plain: Element {
    fn bytes(values: &[Self]) -> Vec<u8>;
    fn random(draws: &mut Prng) -> Self;
    /// Folds in the type of totals, divides and rounds once.
    fn combine(op: ReduceOp, values: &[Self], divisor: Option<usize>) -> Self;
}

macro_rules! plain_bytes {
    ($type:ident) => {
        fn bytes(values: &[$type]) -> Vec<u8> {
            values.iter().flat_map(|value| value.to_le_bytes()).collect()
        }
    };
}

macro_rules! plain_float {
    ($($type:ident, $wide:ident, $bits:ident, $to:expr, $from:expr;)*) => {$(
        impl Plain for $type {
            plain_bytes!($type);

            fn random(draws: &mut Prng) -> $type {
                const SPECIAL: [f32; 9] =
                    [0.0, -0.0, 1.0, 1e-45, -3e-39, 7e-8, f32::INFINITY, f32::NEG_INFINITY, f32::NAN];
                match draws.below(8) {
                    0 => $from(f64::from(SPECIAL[draws.below(9) as usize]) as $wide),
                    1 => $type::from_bits(draws.next_u64() as $bits),
                    _ => $from((draws.normal() * 10.0) as $wide),
                }
            }

            fn combine(op: ReduceOp, values: &[$type], divisor: Option<usize>) -> $type {
                let fold = |total: $wide, value: $wide| {
                    let (low, high) = if total.total_cmp(&value).is_le() { (total, value) } else { (value, total) };
                    match op {
                        ReduceOp::Sum | ReduceOp::Average => total + value,
                        ReduceOp::Product => total * value,
                        _ if total.is_nan() || value.is_nan() => $wide::NAN,
                        ReduceOp::Min => low,
                        ReduceOp::Max => high,
                    }
                };
                let total = values.iter().map(|value| $to(*value)).reduce(fold).unwrap();
                let total = divisor.map_or(total, |divisor| total / divisor as $wide);
                $from(if total.is_nan() { $wide::NAN } else { total })
            }
        }
    )*};
}

plain_float! {
    f32, f32, u32, |value: f32| value, |value: f32| value;
    f64, f64, u64, |value: f64| value, |value: f64| value;
    f16, f32, u16, f16::to_f32, f16::from_f32;
    bf16, f32, u16, bf16::to_f32, bf16::from_f32;
}

macro_rules! plain_integer {
    ($($type:ident)*) => {$(
        impl Plain for $type {
            plain_bytes!($type);

            fn random(draws: &mut Prng) -> $type {
                draws.next_u64() as $type
            }

            fn combine(op: ReduceOp, values: &[$type], _divisor: Option<usize>) -> $type {
                let fold = |total: $type, value: $type| match op {
                    ReduceOp::Sum | ReduceOp::Average => total.wrapping_add(value),
                    ReduceOp::Product => total.wrapping_mul(value),
                    ReduceOp::Min => total.min(value),
                    ReduceOp::Max => total.max(value),
                };
                values.iter().copied().reduce(fold).unwrap()
            }
        }
    )*};
}

plain_integer!(i8 u8 i32 u32 i64 u64);

fn random<T: Plain>(seed: u64, elems: usize) -> Vec<T> {
    let mut draws = Prng::new(seed);
    (0..elems).map(|_| T::random(&mut draws)).collect()
}

/// Pieces of random lengths, some of them empty.
fn cut<'a>(mut bytes: &'a [u8], longest: u64, draws: &mut Prng) -> Vec<&'a [u8]> {
    let mut pieces: Vec<&[u8]> = vec![&[]];
    while !bytes.is_empty() {
        let (piece, rest) = bytes.split_at(bytes.len().min(draws.below(longest + 1) as usize));
        pieces.push(piece);
        bytes = rest;
    }
    pieces.push(&[]);
    pieces
}

fn reduces_as_a_plain_loop<T: Plain>(op: ReduceOp, elems: usize, operands: usize, own: Option<usize>) {
    const BEFORE: usize = 5;
    let what = format!("{op:?} of {operands} × {elems} {:?}, own {own:?}", T::DTYPE);
    let whole = elems + BEFORE + 3;
    let range = BEFORE..BEFORE + elems;
    let values: Vec<Vec<T>> = (0..operands).map(|seed| random(seed as u64, whole)).collect();
    let divisor = (op == ReduceOp::Average).then_some(operands + 1);

    // One payload alone is copied bit by bit.
    let copied = operands == 1 && divisor.is_none();
    let result: Vec<T> = range
        .clone()
        .map(|index| {
            let column: Vec<T> = values.iter().map(|values| values[index]).collect();
            if copied { column[0] } else { T::combine(op, &column, divisor) }
        })
        .collect();
    let mut expected = values[own.unwrap_or(0)].clone();
    expected.splice(range.clone(), result);

    let payloads: Vec<Vec<u8>> = values.iter().map(|values| T::bytes(&values[range.clone()])).collect();
    for longest in [1 << 20, 3_000, 9] {
        let mut draws = Prng::new(longest);
        let pieces: Vec<_> = payloads.iter().map(|payload| cut(payload, longest, &mut draws)).collect();
        let received = |index: usize| Operand::Received { codec: Codec::None, pieces: &pieces[index] };
        let operands: Vec<Operand<'_>> =
            (0..operands).map(|index| if own == Some(index) { OWN } else { received(index) }).collect();

        let start = values[own.unwrap_or(0)].clone();
        let mut in_place = HostBuffers::new(start.clone()).op(op);
        in_place.reduce(Level(1), range.clone(), &operands, divisor).unwrap();
        let bytes = T::bytes(&in_place.into_vec().unwrap());
        assert!(bytes == T::bytes(&expected), "{what}, in place, pieces of up to {longest} bytes");

        let mut apart = HostBuffers::out_of_place(start.clone(), start.clone()).op(op);
        apart.reduce(Level(1), range.clone(), &operands, divisor).unwrap();
        let parts = apart.into_parts::<T>().unwrap();
        assert!(T::bytes(&parts.result) == T::bytes(&expected), "{what}, out of place");
        assert!(T::bytes(&parts.input.unwrap()) == T::bytes(&start), "{what}: the input stays");
    }
}

fn all_operations<T: Plain>() {
    for op in ReduceOp::ALL.into_iter().filter(|op| op.takes(T::DTYPE)) {
        for elems in [0, 1, 67, 1_024, 2_500] {
            for (operands, own) in [
                (1, None),
                (1, Some(0)),
                (2, None),
                (2, Some(0)),
                (2, Some(1)),
                (3, Some(1)),
                (5, Some(4)),
                (4, None),
            ] {
                reduces_as_a_plain_loop::<T>(op, elems, operands, own);
            }
        }
    }
}

#[test]
fn every_operation_on_every_type() {
    all_operations::<f32>();
    all_operations::<f64>();
    all_operations::<f16>();
    all_operations::<bf16>();
    all_operations::<i8>();
    all_operations::<u8>();
    all_operations::<i32>();
    all_operations::<u32>();
    all_operations::<i64>();
    all_operations::<u64>();
}

#[test]
fn reductions_have_the_same_bits_at_every_level() {
    fn reduced<T: Plain>(op: ReduceOp, divisor: Option<usize>, case: &Case) -> Vec<u64> {
        let begin = case.elems % 5;
        let range = begin..begin + case.elems;
        let own: Vec<T> = random(1, range.end);
        let sent = [2, 3].map(|seed| {
            let mut payload = Vec::new();
            let mut sender = HostBuffers::new(random::<T>(seed, case.elems));
            let packing = Packing { codec: Codec::None, phase: Phase(0), source: Rank(0) };
            sender.encode(Level(0), 0..case.elems, packing, &mut payload).unwrap();
            payload
        });
        let pieces = [[&sent[0][..]], [&sent[1][..]]];
        let [a, b] = [0, 1].map(|index| Operand::Received { codec: Codec::None, pieces: &pieces[index] });
        let lists: [&[Operand<'_>]; 4] = [&[a, OWN], &[a, OWN, b], &[a, b], &[a]];
        let results = lists.iter().flat_map(|operands| {
            let mut buffers = HostBuffers::new(own.clone()).op(op);
            buffers.reduce(Level(1), range.clone(), operands, divisor).unwrap();
            T::bytes(&buffers.into_vec().unwrap())
        });
        results.map(u64::from).collect()
    }
    fn all<T: Plain>() {
        for op in ReduceOp::ALL.into_iter().filter(|op| op.takes(T::DTYPE)) {
            let divisor = (op == ReduceOp::Average).then_some(3);
            let name = format!("{op:?} of {:?}", T::DTYPE);
            same_at_every_level(&name, |case| reduced::<T>(op, divisor, case));
        }
    }
    all::<f32>();
    all::<f64>();
    all::<f16>();
    all::<bf16>();
    all::<i8>();
    all::<u8>();
    all::<i32>();
    all::<u32>();
    all::<i64>();
    all::<u64>();
}

#[test]
fn packing_with_feedback_has_the_same_bits_at_every_level() {
    for codec in LOSSY {
        same_at_every_level(&format!("{codec} with feedback"), |case| {
            let mut feedback = Feedback::default();
            let mut bits = Vec::new();
            for round in 0..2 {
                let values = case.floats(round).to_vec();
                let mut buffers = HostBuffers::new(values).feedback(feedback);
                let mut payload = Vec::new();
                let packing = Packing { codec, phase: Phase(0), source: Rank(0) };
                buffers.encode(Level(0), 0..case.elems, packing, &mut payload).unwrap();
                bits.extend(payload.into_iter().map(u64::from));
                let parts = buffers.into_parts::<f32>().unwrap();
                bits.extend(parts.result.iter().map(|value| u64::from(value.to_bits())));
                feedback = parts.feedback.unwrap();
                bits.push(feedback.norm().to_bits());
            }
            bits
        });
    }
}

#[test]
fn a_payload_may_be_cut_at_any_byte() {
    fn cut_everywhere<T: Plain>(elems: usize, codec: Codec, payload: &[u8]) {
        let own: Vec<T> = random(1, elems);
        let reduced = |pieces: &[&[u8]], operands: &dyn Fn(Operand<'_>) -> Vec<Vec<u8>>| {
            operands(Operand::Received { codec, pieces })
        };
        let all = |received: Operand<'_>| -> Vec<Vec<u8>> {
            let lists: [&[Operand<'_>]; 3] = [&[received], &[received, OWN], &[OWN, received, received]];
            let run = |operands: &&[Operand<'_>]| {
                let mut buffers = HostBuffers::new(own.clone());
                buffers.reduce(Level(1), 0..elems, operands, None).unwrap();
                T::bytes(&buffers.into_vec().unwrap())
            };
            lists.iter().map(run).collect()
        };
        let whole = reduced(&[payload], &all);
        for cut in 0..=payload.len() {
            let (first, second) = payload.split_at(cut);
            assert_eq!(reduced(&[first, second], &all), whole, "{:?}, {codec}, cut at {cut}", T::DTYPE);
        }
        let bytes: Vec<&[u8]> = payload.chunks(1).collect();
        assert_eq!(reduced(&bytes, &all), whole);
    }
    fn lossless<T: Plain>() {
        cut_everywhere::<T>(19, Codec::None, &T::bytes(&random::<T>(2, 19)));
    }
    lossless::<f32>();
    lossless::<f64>();
    lossless::<f16>();
    lossless::<bf16>();
    lossless::<i8>();
    lossless::<u8>();
    lossless::<i32>();
    lossless::<u32>();
    lossless::<i64>();
    lossless::<u64>();
    for codec in LOSSY {
        let mut sender = HostBuffers::new(gradient(3, 300));
        cut_everywhere::<f32>(300, codec, &packed(&mut sender, codec, 0..300));
    }
}

#[test]
fn operands_are_combined_in_their_order() {
    let values: [f32; 3] = [1e8, 1.0, -1e8];
    for (order, sum) in [([0, 1, 2], 0.0), ([0, 2, 1], 1.0), ([1, 2, 0], 0.0), ([2, 0, 1], 1.0)] {
        let payloads = values.map(f32::to_le_bytes);
        let pieces: [[&[u8]; 1]; 3] = [[&payloads[0]], [&payloads[1]], [&payloads[2]]];
        let operands = order.map(|index| match index {
            0 => OWN,
            _ => Operand::Received { codec: Codec::None, pieces: &pieces[index] },
        });
        let mut buffers = HostBuffers::new(vec![values[0]]);
        buffers.reduce(Level(1), 0..1, &operands, None).unwrap();
        assert_eq!(buffers.into_vec::<f32>().unwrap(), [sum], "{order:?}");
    }
}

/// Rounded after each addition, 1 would be lost twice; rounded before the division, sums would overflow.
#[test]
fn types_of_16_bits_are_rounded_once() {
    fn combined<T: Plain>(op: ReduceOp, values: &[T], divisor: Option<usize>) -> T {
        let payloads: Vec<Vec<u8>> = values.iter().map(|value| T::bytes(&[*value])).collect();
        let pieces: Vec<[&[u8]; 1]> = payloads.iter().map(|payload| [&payload[..]]).collect();
        let received = |pieces| Operand::Received { codec: Codec::None, pieces };
        let operands: Vec<_> = pieces.iter().map(|pieces| received(&pieces[..])).collect();
        let mut buffers = HostBuffers::new(vec![T::default()]).op(op);
        buffers.reduce(Level(1), 0..1, &operands, divisor).unwrap();
        buffers.into_vec().unwrap()[0]
    }
    let f = f16::from_f32;
    assert_eq!(combined(ReduceOp::Sum, &[f(2_048.0), f(1.0), f(1.0)], None), f(2_050.0));
    assert_eq!(combined(ReduceOp::Sum, &[f(65_504.0), f(65_504.0), f(-65_504.0)], None), f(65_504.0));
    assert_eq!(combined(ReduceOp::Average, &[f(65_504.0), f(65_504.0)], Some(2)), f(65_504.0));
    let b = bf16::from_f32;
    assert_eq!(combined(ReduceOp::Sum, &[b(256.0), b(1.0), b(1.0)], None), b(258.0));
    // 261 is no bf16: rounded before it is divided, the mean would be 86.5.
    assert_eq!(combined(ReduceOp::Average, &[b(256.0), b(5.0)], Some(3)), b(87.0));
}

#[test]
fn integers_wrap() {
    let mut buffers = HostBuffers::new(vec![i8::MAX, 100, -128]);
    let payload = [1, 100, 255];
    let received = Operand::Received { codec: Codec::None, pieces: &[&payload] };
    buffers.reduce(Level(1), 0..3, &[OWN, received], None).unwrap();
    assert_eq!(buffers.clone().into_vec::<i8>().unwrap(), [-128, -56, 127]);
    let mut buffers = buffers.op(ReduceOp::Product);
    buffers.reduce(Level(1), 0..3, &[received, OWN], None).unwrap();
    assert_eq!(buffers.into_vec::<i8>().unwrap(), [-128, 32, -127]);
}

#[test]
fn extremes_order_zeros_and_keep_nan() {
    let own = vec![0.0_f32, -0.0, f32::NAN, 1.0, f32::INFINITY, f32::NEG_INFINITY];
    let other = [-0.0_f32, 0.0, 1.0, -f32::NAN, f32::NEG_INFINITY, f32::INFINITY];
    let payload = f32::bytes(&other);
    let received = Operand::Received { codec: Codec::None, pieces: &[&payload] };
    for (op, zero, infinity) in
        [(ReduceOp::Min, -0.0_f32, f32::NEG_INFINITY), (ReduceOp::Max, 0.0, f32::INFINITY)]
    {
        let mut buffers = HostBuffers::new(own.clone()).op(op);
        buffers.reduce(Level(1), 0..6, &[received, OWN], None).unwrap();
        let expected = [zero, zero, f32::NAN, f32::NAN, infinity, infinity];
        assert_eq!(f32::bytes(&buffers.into_vec().unwrap()), f32::bytes(&expected));
    }
}

#[test]
#[should_panic(expected = "Average is not defined for I32")]
fn integers_have_no_average() {
    HostBuffers::new(vec![1_i32]).op(ReduceOp::Average);
}

#[test]
fn what_does_not_fit_is_refused_before_anything_is_written() {
    let start = vec![1.0_f32; 300];
    let mut buffers = HostBuffers::new(start.clone());
    let payload = vec![0; 4 * 301];
    let good = Operand::Received { codec: Codec::None, pieces: &[&payload[..1_200]] };
    let length = |got, codec| BufferError::Length { got, elems: 300, dtype: DType::F32, codec };
    for (codec, right) in [(Codec::None, 1_200), (Codec::Bf16, 600), (Codec::Int8, 304), (Codec::Int4, 156)] {
        for got in [0, right - 1, right + 1] {
            let pieces: [&[u8]; 2] = [&payload[..got / 2], &payload[got / 2..got]];
            let bad = Operand::Received { codec, pieces: &pieces };
            for operands in [&[bad][..], &[bad, OWN], &[OWN, bad], &[good, OWN, bad]] {
                let refused = buffers.reduce(Level(1), 0..300, operands, None).unwrap_err();
                assert_eq!(refused, length(got, codec));
            }
        }
    }
    let outside = buffers.reduce(Level(1), 1..301, &[good, OWN], None).unwrap_err();
    assert_eq!(outside, BufferError::Range { start: 1, end: 301, elems: 300 });
    #[expect(clippy::reversed_empty_ranges, reason = "it is refused")]
    let reversed = buffers.reduce(Level(1), 300..299, &[OWN], None).unwrap_err();
    assert_eq!(reversed, BufferError::Range { start: 300, end: 299, elems: 300 });
    assert_eq!(buffers.into_vec::<f32>().unwrap(), start);

    let mut doubles = HostBuffers::new(vec![1.0_f64; 4]);
    let packed = Operand::Received { codec: Codec::Bf16, pieces: &[&payload[..8]] };
    let refused = doubles.reduce(Level(1), 0..4, &[packed], None).unwrap_err();
    let length = BufferError::Length { got: 8, elems: 4, dtype: DType::F64, codec: Codec::Bf16 };
    assert_eq!(refused, length);
}

#[test]
fn results_come_back_as_the_type_they_are() {
    let buffers = HostBuffers::out_of_place(vec![1_u32, 2], vec![0, 0]);
    assert_eq!((buffers.elems(), buffers.dtype(), Buffers::op(&buffers)), (2, DType::U32, ReduceOp::Sum));
    assert!(buffers.clone().into_vec::<i32>().is_none());
    let parts = buffers.into_parts::<u32>().unwrap();
    assert_eq!((parts.result, parts.input), (vec![0, 0], Some(vec![1, 2])));
}

fn gradient(seed: u64, elems: usize) -> Vec<f32> {
    let mut draws = Prng::new(seed);
    (0..elems).map(|_| draws.normal() as f32).collect()
}

fn packing(codec: Codec) -> Packing {
    Packing { codec, phase: Phase(0), source: Rank(3) }
}

fn packed(buffers: &mut HostBuffers, codec: Codec, range: Range<usize>) -> Vec<u8> {
    let mut out = vec![0xaa, 0xbb];
    buffers.encode(Level(0), range.clone(), packing(codec), &mut out).unwrap();
    assert_eq!(out[..2], [0xaa, 0xbb], "payloads are appended");
    let bytes = codec.payload_bytes(buffers.dtype(), range.len());
    assert_eq!(out.len() - 2, bytes, "{codec} of {range:?}");
    out.split_off(2)
}

fn received(codec: Codec, payload: &[u8], elems: usize) -> Vec<f32> {
    let mut buffers = HostBuffers::new(vec![f32::NAN; elems]);
    let operand = Operand::Received { codec, pieces: &[payload] };
    buffers.reduce(Level(2), 0..elems, &[operand], None).unwrap();
    buffers.into_vec().unwrap()
}

#[test]
fn unpacked_elements_go_as_their_little_endian_bytes() {
    fn check<T: Plain>() {
        let values: Vec<T> = random(5, 3_000);
        let mut buffers = HostBuffers::new(values.clone());
        for range in [0..0, 1..2, 7..3_000] {
            assert!(packed(&mut buffers, Codec::None, range.clone()) == T::bytes(&values[range]));
        }
        assert!(T::bytes(&buffers.into_vec().unwrap()) == T::bytes(&values));
    }
    check::<f32>();
    check::<f64>();
    check::<f16>();
    check::<bf16>();
    check::<i8>();
    check::<u8>();
    check::<i32>();
    check::<u32>();
    check::<i64>();
    check::<u64>();
    assert_eq!(
        packed(&mut HostBuffers::new(vec![1.0_f32, -2.0]), Codec::None, 0..2),
        [0, 0, 128, 63, 0, 0, 0, 192]
    );
}

#[test]
fn a_level_holds_what_receivers_decode() {
    for codec in LOSSY {
        for elems in [0, 1, 300, 2_049] {
            let values = gradient(1, elems);
            let mut buffers = HostBuffers::new(values.clone());
            let payload = packed(&mut buffers, codec, 0..elems);
            let level = buffers.clone().into_vec::<f32>().unwrap();
            assert_eq!(level, received(codec, &payload, elems), "{codec}");
            if matches!(codec, Codec::Bf16 | Codec::F16) {
                assert_eq!(
                    packed(&mut buffers, codec, 0..elems),
                    payload,
                    "{codec}: packing again changes nothing"
                );
            }
        }
    }
}

#[test]
fn out_of_place_the_input_stays_and_packed_ranges_are_read_as_packed() {
    let values = gradient(2, 1_000);
    for codec in LOSSY {
        let mut in_place = HostBuffers::new(values.clone());
        let mut apart = HostBuffers::out_of_place(values.clone(), vec![f32::NAN; 1_000]);
        for range in [256..512, 768..1_000] {
            let expected = packed(&mut in_place, codec, range.clone());
            assert_eq!(packed(&mut apart, codec, range), expected, "{codec}");
        }
        let payload = f32::bytes(&gradient(3, 1_000));
        let reduced = |buffers: &HostBuffers, own_index: usize, count: usize| {
            let mut buffers = buffers.clone();
            for range in [0..256, 256..512, 512..768, 768..1_000] {
                let bytes = &payload[4 * range.start..4 * range.end];
                let received = Operand::Received { codec: Codec::None, pieces: &[bytes] };
                let mut operands = vec![received; count];
                operands[own_index] = OWN;
                buffers.reduce(Level(1), range, &operands, None).unwrap();
            }
            buffers.into_parts::<f32>().unwrap()
        };
        for (own_index, count) in [(0, 1), (0, 2), (1, 2), (1, 3)] {
            let parts = reduced(&apart, own_index, count);
            assert_eq!(parts.result, reduced(&in_place, own_index, count).result, "{codec}");
            assert_eq!(parts.input.as_ref(), Some(&values));
        }
    }
}

#[test]
fn segments_of_a_range_give_the_bytes_of_the_whole() {
    const ELEMS: usize = 3_333;
    let values = gradient(4, ELEMS);
    for codec in LOSSY {
        for rounding in [Rounding::Nearest, Rounding::Stochastic { key: 11 }] {
            let fresh = || {
                let buffers =
                    HostBuffers::new(values.clone()).rounding(rounding).feedback(Feedback::default());
                let mut first = buffers;
                packed(&mut first, codec, 0..ELEMS);
                let parts = first.into_parts::<f32>().unwrap();
                HostBuffers::new(values.clone()).rounding(rounding).feedback(parts.feedback.unwrap())
            };
            let mut whole = fresh();
            let payload = packed(&mut whole, codec, 0..ELEMS);
            let mut split = fresh();
            let mut parts = Vec::new();
            for range in [0..256, 256..512, 512..2_816, 2_816..ELEMS] {
                parts.extend(packed(&mut split, codec, range));
            }
            assert_eq!(parts, payload, "{codec}, {rounding:?}");
            let [whole, split] = [whole, split].map(|buffers| buffers.into_parts::<f32>().unwrap());
            assert_eq!(whole.result, split.result);
            assert_eq!(whole.feedback.unwrap().norm(), split.feedback.unwrap().norm());
        }
    }
}

#[test]
fn ranks_round_differently() {
    for codec in LOSSY {
        let pack = |source| {
            let mut buffers = HostBuffers::new(gradient(5, 512)).rounding(Rounding::Stochastic { key: 1 });
            let mut out = Vec::new();
            buffers
                .encode(Level(0), 0..512, Packing { source: Rank(source), ..packing(codec) }, &mut out)
                .unwrap();
            out
        };
        assert_eq!(pack(1), pack(1));
        assert_ne!(pack(1), pack(2), "{codec}");
    }
}

/// What is decoded over all rounds is what came in, but for the last residual. Without feedback the same
/// error is made each time.
#[test]
fn feedback_sends_in_the_end_what_was_lost() {
    const ELEMS: usize = 700;
    const ROUNDS: u32 = 50;
    let values = gradient(6, ELEMS);
    for codec in LOSSY {
        for rounding in [Rounding::Nearest, Rounding::Stochastic { key: 2 }] {
            let mut feedback = Some(Feedback::default());
            let mut sent = vec![0.0_f64; ELEMS];
            let mut plain = vec![0.0_f64; ELEMS];
            for _ in 0..ROUNDS {
                let mut buffers =
                    HostBuffers::new(values.clone()).rounding(rounding).feedback(feedback.take().unwrap());
                packed(&mut buffers, codec, 0..ELEMS);
                let parts = buffers.into_parts::<f32>().unwrap();
                sent.iter_mut().zip(&parts.result).for_each(|(sum, value)| *sum += f64::from(*value));
                feedback = parts.feedback;
                let mut without = HostBuffers::new(values.clone());
                packed(&mut without, codec, 0..ELEMS);
                let decoded = without.into_vec::<f32>().unwrap();
                plain.iter_mut().zip(&decoded).for_each(|(sum, value)| *sum += f64::from(*value));
            }
            let distance = |sums: &[f64]| {
                let error = |(sum, value): (&f64, &f32)| sum - f64::from(ROUNDS) * f64::from(*value);
                sums.iter().zip(&values).map(error).map(|error| error * error).sum::<f64>().sqrt()
            };
            let mut feedback = feedback.unwrap();
            let residual = feedback.norm();
            assert!(residual > 0.0);
            assert!((distance(&sent) - residual).abs() < 1e-3, "{codec}: {} {residual}", distance(&sent));
            assert!(distance(&plain) > 5.0 * residual, "{codec}: {} {residual}", distance(&plain));
            feedback.clear();
            assert_eq!(feedback.norm(), 0.0);
        }
    }
}

#[test]
fn residuals_are_kept_by_phase_and_never_of_what_is_not_finite() {
    for codec in LOSSY {
        let mut values = vec![0.3_f32; 300];
        values[7] = f32::NAN;
        values[8] = f32::INFINITY;
        values[9] = f32::MAX;
        let mut buffers = HostBuffers::new(values).feedback(Feedback::default());
        packed(&mut buffers, codec, 0..300);
        let first = buffers.clone().into_parts::<f32>().unwrap();
        assert!(first.result[7].is_nan() && !first.result[8].is_finite());
        let norm = first.feedback.unwrap().norm();
        assert!(norm.is_finite(), "{codec}: {norm}");

        let feedback = buffers.into_parts::<f32>().unwrap().feedback.unwrap();
        let mut next = HostBuffers::new(vec![0.3_f32; 300]).feedback(feedback);
        let mut other = Vec::new();
        next.encode(Level(1), 0..300, Packing { phase: Phase(1), ..packing(codec) }, &mut other).unwrap();
        let mut alone = HostBuffers::new(vec![0.3_f32; 300]);
        assert_eq!(other, packed(&mut alone, codec, 0..300), "{codec}: phase 1 has no residual yet");
    }
}

#[test]
fn a_maximum_takes_no_feedback() {
    let mut with = HostBuffers::new(gradient(8, 256)).op(ReduceOp::Max).feedback(Feedback::default());
    packed(&mut with, Codec::Int4, 0..256);
    assert_eq!(with.into_parts::<f32>().unwrap().feedback.unwrap().norm(), 0.0);
}

proptest! {
    /// Payloads of all codecs beside own values, cut anywhere.
    #[test]
    fn packed_operands_are_added_as_a_plain_loop_would(
        seed: u64,
        elems in 0_usize..2_600,
        codecs in prop::collection::vec(0..=Codec::ALL.len(), 1..6),
        longest in prop::sample::select(vec![1_u64, 100, 1_200, 1 << 20]),
    ) {
        let mut draws = Prng::new(seed);
        let own = gradient(seed ^ 1, elems);
        let mut terms: Vec<Vec<f32>> = Vec::new();
        let mut payloads: Vec<Option<(Codec, Vec<u8>)>> = Vec::new();
        for (index, codec) in codecs.iter().enumerate() {
            let Some(codec) = Codec::ALL.get(*codec) else {
                terms.push(own.clone());
                payloads.push(None);
                continue;
            };
            let mut sender = HostBuffers::new(gradient(seed ^ (index as u64 + 2), elems));
            payloads.push(Some((*codec, packed(&mut sender, *codec, 0..elems))));
            terms.push(sender.into_vec().unwrap());
        }
        let sums: Vec<f32> = (0..elems)
            .map(|index| terms.iter().map(|term| term[index]).reduce(|sum, value| sum + value).unwrap())
            .collect();
        let pieces: Vec<_> = payloads
            .iter()
            .map(|payload| payload.as_ref().map_or(Vec::new(), |(_, bytes)| cut(bytes, longest, &mut draws)))
            .collect();
        let operands: Vec<Operand<'_>> = payloads
            .iter()
            .zip(&pieces)
            .map(|(payload, pieces)| match payload {
                None => OWN,
                Some((codec, _)) => Operand::Received { codec: *codec, pieces },
            })
            .collect();
        let mut in_place = HostBuffers::new(own.clone());
        in_place.reduce(Level(1), 0..elems, &operands, None).unwrap();
        prop_assert_eq!(&in_place.into_vec::<f32>().unwrap(), &sums);
        let mut apart = HostBuffers::out_of_place(own, vec![f32::NAN; elems]);
        apart.reduce(Level(1), 0..elems, &operands, None).unwrap();
        prop_assert_eq!(&apart.into_vec::<f32>().unwrap(), &sums);
    }
}

#[test]
fn out_of_place_what_was_received_is_sent_on() {
    // As in a ring that gathers: level 0 comes from the neighbour before and goes to the one behind.
    let mut buffers = HostBuffers::out_of_place(vec![1_u8, 2, 3], vec![0; 3]);
    let received = Operand::Received { codec: Codec::None, pieces: &[&[7, 8]] };
    buffers.reduce(Level(0), 0..2, &[received], None).unwrap();
    let packing = Packing { codec: Codec::None, phase: Phase(2), source: Rank(0) };
    let mut sent = Vec::new();
    buffers.encode(Level(0), 0..2, packing, &mut sent).unwrap();
    buffers.encode(Level(0), 2..3, packing, &mut sent).unwrap();
    assert_eq!(sent, [7, 8, 3]);
}
