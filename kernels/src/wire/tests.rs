#![expect(clippy::cast_possible_truncation, reason = "random values are cut to size")]

use hcrun_protocol::dtype::Packing;
use hcrun_protocol::schedule::Phase;
use hcrun_protocol::{Prng, Rank};
use proptest::prelude::*;

use super::*;

const LOSSY: [Codec; 4] = [Codec::Bf16, Codec::F16, Codec::Int8, Codec::Int4];

fn packed(codec: Codec, values: &[f32], draws: Option<&[u32]>) -> Vec<u8> {
    let mut payload = vec![0xee; codec.payload_bytes(DType::F32, values.len())];
    pack(codec, values, draws, &mut payload);
    payload
}

fn unpacked(codec: Codec, payload: &[u8], elems: usize) -> Vec<f32> {
    let mut values = vec![f32::NAN; elems];
    unpack(codec, payload, &mut values);
    values
}

fn round_trip(codec: Codec, values: &[f32]) -> Vec<f32> {
    unpacked(codec, &packed(codec, values, None), values.len())
}

fn draws(key: u64, source: u16, start: usize, elems: usize) -> Vec<u32> {
    let packing = Packing { codec: Codec::None, phase: Phase(2), source: Rank(source) };
    let mut draws = vec![0; elems];
    Rounding::Stochastic { key }.draws(packing, start, &mut draws).unwrap();
    draws
}

/// Everything a scale and its codes are, one step after another.
fn plain_block(values: &[f32], limit: f32) -> (f32, Vec<i8>) {
    let zeros = vec![0; values.len()];
    if values.iter().any(|value| !value.is_finite()) {
        return (f32::NAN, zeros);
    }
    let largest = values.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
    if largest == 0.0 {
        return (0.0, zeros);
    }
    let quotient = largest / limit;
    let mut scale = half::bf16::from_f32(quotient);
    if scale.to_f32() < quotient {
        scale = half::bf16::from_bits(scale.to_bits() + 1);
    }
    let scale = scale.to_f32().max(f32::MIN_POSITIVE);
    if (scale * limit).is_infinite() {
        return (f32::NAN, zeros);
    }
    let code = |value: &f32| (value * (1.0 / scale)).round_ties_even().clamp(-limit, limit) as i8;
    (scale, values.iter().map(code).collect())
}

fn plain_bytes(codec: Codec, values: &[f32]) -> Vec<u8> {
    let halves = |half: fn(f32) -> u16| values.iter().flat_map(|v| half(*v).to_le_bytes()).collect();
    match codec {
        Codec::None => unreachable!(),
        Codec::Bf16 => halves(|v| if v.is_nan() { 0x7fc0 } else { half::bf16::from_f32(v).to_bits() }),
        Codec::F16 => halves(|v| if v.is_nan() { 0x7e00 } else { half::f16::from_f32(v).to_bits() }),
        Codec::Int8 | Codec::Int4 => {
            let mut bytes = Vec::new();
            for block in values.chunks(codec.block_elems()) {
                let (scale, codes) = plain_block(block, if codec == Codec::Int8 { 127.0 } else { 7.0 });
                let scale = if scale.is_nan() { 0x7fc0 } else { scale.to_bits() >> 16 };
                bytes.extend_from_slice(&scale.to_le_bytes()[..2]);
                if codec == Codec::Int8 {
                    bytes.extend(codes.iter().map(|code| code.cast_unsigned()));
                } else {
                    bytes.extend(codes.chunks(2).map(|pair| {
                        let odd = pair.get(1).copied().unwrap_or(0);
                        (pair[0].cast_unsigned() & 0xf) | (odd.cast_unsigned() << 4)
                    }));
                }
            }
            bytes
        }
    }
}

fn plain_values(codec: Codec, payload: &[u8], elems: usize) -> Vec<f32> {
    let word = |at: usize| u16::from_le_bytes([payload[at], payload[at + 1]]);
    let block_bytes = codec.payload_bytes(DType::F32, codec.block_elems());
    let value = |index: usize| {
        let (block, within) = (index / codec.block_elems() * block_bytes, index % codec.block_elems());
        let scale = || half::bf16::from_bits(word(block)).to_f32();
        match codec {
            Codec::None => unreachable!(),
            Codec::Bf16 => half::bf16::from_bits(word(2 * index)).to_f32(),
            Codec::F16 => half::f16::from_bits(word(2 * index)).to_f32(),
            Codec::Int8 => f32::from(payload[block + 2 + within].cast_signed()) * scale(),
            Codec::Int4 => {
                let nibble = (payload[block + 2 + within / 2] >> (within % 2 * 4)) & 0xf;
                f32::from((nibble << 4).cast_signed() >> 4) * scale()
            }
        }
    };
    (0..elems).map(value).collect()
}

/// Values of any size, with a share of those that are easily forgotten.
fn values(seed: u64, elems: usize, special: u64) -> Vec<f32> {
    const SPECIAL: [f32; 12] = [
        0.0,
        -0.0,
        1e-45,
        -1e-39,
        f32::MIN_POSITIVE,
        65_504.0,
        -65_520.0,
        f32::MAX,
        f32::MIN,
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::NAN,
    ];
    let mut draws = Prng::new(seed);
    let mut value = || match draws.below(100) {
        share if share < special => SPECIAL[draws.below(12) as usize],
        share if share < 2 * special => f32::from_bits(draws.next_u64() as u32),
        _ => (draws.normal() * 10_f64.powi(draws.below(5) as i32 - 3)) as f32,
    };
    (0..elems).map(|_| value()).collect()
}

fn same_bits(a: &[f32], b: &[f32]) -> bool {
    let bits = |x: &f32| if x.is_nan() { f32::NAN.to_bits() } else { x.to_bits() };
    a.iter().map(bits).eq(b.iter().map(bits))
}

#[test]
fn bytes_and_values_are_those_of_plain_loops() {
    for codec in LOSSY {
        for elems in [0, 1, 2, 127, 128, 129, 255, 256, 257, 700, 1_024] {
            // Most blocks with a special value are not finite: some have none.
            for special in [0, 1, 20] {
                let values = values(elems as u64 + special, elems, special);
                let payload = packed(codec, &values, None);
                assert_eq!(payload, plain_bytes(codec, &values), "{codec}, {elems} elements, {special} %");
                let decoded = unpacked(codec, &payload, elems);
                assert!(same_bits(&decoded, &plain_values(codec, &payload, elems)), "{codec}, {elems}");
            }
        }
    }
}

#[test]
fn any_bytes_are_values() {
    let mut draws = Prng::new(3);
    let payload: Vec<u8> = (0..2_000).map(|_| draws.next_u64().to_le_bytes()[7]).collect();
    for (codec, elems) in [(Codec::Bf16, 700), (Codec::F16, 700), (Codec::Int8, 700), (Codec::Int4, 701)] {
        let payload = &payload[..codec.payload_bytes(DType::F32, elems)];
        assert!(same_bits(&unpacked(codec, payload, elems), &plain_values(codec, payload, elems)));
    }
}

/// Every half, the points half-way to its neighbour, and the floats beside them.
#[test]
fn halves_round_to_nearest_with_ties_to_even() {
    let all: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
    for codec in [Codec::F16, Codec::Bf16] {
        let exact = unpacked(codec, &all, 1 << 16);
        assert!(same_bits(&exact, &plain_values(codec, &all, 1 << 16)));
        let again = round_trip(codec, &exact);
        assert!(same_bits(&exact, &again), "{codec}: what is exact stays");
        let mut between: Vec<f32> = exact
            .windows(2)
            .flat_map(|pair| {
                let middle = ((f64::from(pair[0]) + f64::from(pair[1])) / 2.0) as f32;
                [middle.next_down(), middle, middle.next_up()]
            })
            .collect();
        between.extend([65_519.996, 65_520.0, 65_536.0, 1e30, -65_520.0, f32::MAX]);
        assert_eq!(packed(codec, &between, None), plain_bytes(codec, &between), "{codec}");
    }
}

/// From a second implementation. Payloads travel between builds: their definition stays.
#[test]
fn payloads_are_pinned() {
    let floats = [0.0, -0.0, 1.0, -1.5, 0.1, std::f32::consts::PI, 1e-7, -3e-5, 65_519.0, 65_503.23];
    let block = [0.0, 0.1, -0.7, 1.0, -2.3, 1.77, 0.35];
    let draws = draws(0x1234, 5, 256, 10);
    let cases: [(Codec, &[f32], &str, &str); 4] = [
        (
            Codec::Bf16,
            &floats,
            "00000080803fc0bfcd3d4940d733fcb780478047",
            "00000080803fc0bfcd3d4940d733fcb780478047",
        ),
        (
            Codec::F16,
            &floats,
            "00000080003c00be662e48420200f781ff7bff7b",
            "00000080003c00be662e49420100f781ff7bff7b",
        ),
        (Codec::Int8, &block, "953c0005da37826113", "953c0006d937826113"),
        (Codec::Int4, &block, "a93e003e5901", "a93e103d5901"),
    ];
    let hex = |bytes: Vec<u8>| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    for (codec, values, nearest, drawn) in cases {
        assert_eq!(hex(packed(codec, values, None)), nearest, "{codec}");
        assert_eq!(hex(packed(codec, values, Some(&draws))), drawn, "{codec}");
    }
}

#[test]
fn blocks_at_the_ends_of_the_range() {
    for (codec, limit) in [(Codec::Int8, 127.0_f32), (Codec::Int4, 7.0)] {
        let bound = |values: &[f32], name: &str| {
            let decoded = round_trip(codec, values);
            let (scale, _) = plain_block(values, limit);
            for (value, decoded) in values.iter().zip(&decoded) {
                let error = (value - decoded).abs();
                assert!(error <= scale * 0.501, "{codec}, {name}: {value} became {decoded}");
            }
            decoded
        };
        bound(&[-3.0, -2.5, -0.1, -1e-3], "negative");
        // Below the smallest scale nothing is left of them, and no step is larger than that scale.
        bound(&[1e-45, -2e-39, 1e-38], "denormal");
        bound(&[f32::MAX * 0.5, 1.0, -1e30], "large");
        let mut outlier = vec![0.01; codec.block_elems()];
        outlier[77] = -1e6;
        let decoded = bound(&outlier, "outlier");
        assert!((decoded[77] + 1e6).abs() < 1e4 && decoded[0] == 0.0);
        assert_eq!(round_trip(codec, &[0.0, -0.0, 0.0]), [0.0; 3]);
        // One block is lost, and only that one.
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::from_bits(0x7fff_ffff)] {
            let mut values = vec![1.0; 2 * codec.block_elems() + 3];
            values[codec.block_elems() + 5] = bad;
            let decoded = round_trip(codec, &values);
            for (index, value) in decoded.iter().enumerate() {
                let lost = index / codec.block_elems() == 1;
                assert_eq!(value.is_nan(), lost, "{codec}, {bad}, element {index}");
            }
        }
    }
}

#[test]
fn stochastic_rounding_takes_one_of_two_neighbours_with_the_right_mean() {
    const KEYS: u32 = 4_000;
    let values = [0.3_f32, -1.234_567, 3.01, 2e-6, -5.5e-8, 1000.7, 1e-41, 6.103e-5, 0.0, 42.0];
    for codec in LOSSY {
        // Alone in its block, a value is its own scale: beside a larger one it is between two codes.
        let blocks: Vec<Vec<f32>> = values.iter().map(|value| vec![*value, value.abs() * 3.3]).collect();
        for block in &blocks {
            let mut seen: Vec<f32> = Vec::new();
            let mut sum = 0.0;
            for key in 0..KEYS {
                let payload = packed(codec, block, Some(&draws(u64::from(key), 0, 8, 2)));
                let decoded = unpacked(codec, &payload, 2)[0];
                sum += f64::from(decoded);
                if !seen.contains(&decoded) {
                    seen.push(decoded);
                }
            }
            assert!(seen.len() <= 2, "{codec}: {} became {seen:?}", block[0]);
            seen.sort_by(f32::total_cmp);
            let step = f64::from(seen[seen.len() - 1]) - f64::from(seen[0]);
            let error = sum / f64::from(KEYS) - f64::from(block[0]);
            // The deviation of a mean of draws is at most half a step over the root of their count.
            let allowed = if seen.len() == 1 {
                2e-3 * f64::from(block[0].abs()).max(1e-7)
            } else {
                4.0 * step / 2.0 / f64::from(KEYS).sqrt()
            };
            assert!(error.abs() <= allowed, "{codec}: {} is off by {error:e} of {step:e}", block[0]);
        }
    }
}

#[test]
fn draws_depend_on_the_element_and_the_source_and_not_on_the_segment() {
    let whole = draws(9, 1, 0, 2_000);
    for start in [0, 1, 7, 256, 1_999] {
        assert_eq!(draws(9, 1, start, 2_000 - start), whole[start..]);
    }
    for other in [draws(9, 2, 0, 2_000), draws(10, 1, 0, 2_000)] {
        assert!(whole.iter().zip(&other).filter(|(a, b)| a == b).count() < 3);
    }
    let packing = |phase| Packing { codec: Codec::Int8, phase: Phase(phase), source: Rank(1) };
    let mut draws = [0; 4];
    let first = Rounding::Stochastic { key: 9 }.draws(packing(0), 0, &mut draws).unwrap().to_vec();
    assert_ne!(Rounding::Stochastic { key: 9 }.draws(packing(1), 0, &mut draws).unwrap(), first);
    assert_eq!(Rounding::Nearest.draws(packing(0), 0, &mut draws), None);
}

#[test]
fn stochastic_rounding_keeps_what_is_not_finite() {
    let values = [f32::INFINITY, f32::NEG_INFINITY, f32::NAN, -f32::NAN];
    for codec in [Codec::Bf16, Codec::F16] {
        for draw in [0, u32::MAX] {
            let decoded = unpacked(codec, &packed(codec, &values, Some(&[draw; 4])), 4);
            assert!(same_bits(&decoded, &values));
        }
    }
}

proptest! {
    #[test]
    fn errors_are_within_half_a_step(seed: u64, elems in 0_usize..1_500, exponent in -30_i32..30) {
        let size = 2_f32.powi(exponent);
        let values: Vec<f32> = values(seed, elems, 0).iter().map(|value| value * size).collect();
        for codec in LOSSY {
            let decoded = round_trip(codec, &values);
            let blocks = values.chunks(codec.block_elems()).zip(decoded.chunks(codec.block_elems()));
            for (values, decoded) in blocks {
                let largest = values.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
                let bound = match codec {
                    Codec::None => unreachable!(),
                    Codec::Bf16 => largest / 256.0,
                    Codec::F16 if largest >= 65_520.0 => continue,
                    // Half a unit of the last place, which for subnormal halves is 2^-24.
                    Codec::F16 => (largest / 2_048.0).max(2_f32.powi(-25)),
                    // The scale is rounded up by at most 2^-7 of itself.
                    Codec::Int8 => largest / 127.0 * 0.505,
                    Codec::Int4 => largest / 7.0 * 0.505,
                };
                for (value, decoded) in values.iter().zip(decoded) {
                    prop_assert!((value - decoded).abs() <= bound, "{}: {} became {}", codec, value, decoded);
                }
            }
        }
    }
}
