//! Values whose results are exact, and the plain loops that say what the results are.

use hcrun_kernels::host_buffers::{Element, bf16, f16};
use hcrun_protocol::dtype::{DType, ReduceOp};
use hcrun_protocol::prng::mix64;

/// An element type with integer-valued data: no operation on them rounds, but for the division of averages.
pub(crate) trait Value: Element + Send {
    /// From any bits: small enough that the result over 32 ranks is exact.
    fn draw(bits: u64, op: ReduceOp, rank: usize) -> Self;
    /// The result over all ranks, in any order.
    fn combine(values: &mut dyn Iterator<Item = Self>, op: ReduceOp, ranks: usize) -> Self;
    fn bits(self) -> u64;
}

macro_rules! integers {
    ($($type:ident)*) => {$(
        impl Value for $type {
            fn draw(bits: u64, _op: ReduceOp, _rank: usize) -> $type {
                const BYTES: usize = size_of::<$type>();
                $type::from_le_bytes(bits.to_le_bytes()[..BYTES].try_into().unwrap())
            }
            fn combine(values: &mut dyn Iterator<Item = $type>, op: ReduceOp, _ranks: usize) -> $type {
                let combine = |a: $type, b: $type| match op {
                    ReduceOp::Sum => a.wrapping_add(b),
                    ReduceOp::Product => a.wrapping_mul(b),
                    ReduceOp::Min => a.min(b),
                    ReduceOp::Max => a.max(b),
                    ReduceOp::Average => unreachable!("integers have no average"),
                };
                values.reduce(combine).unwrap()
            }
            fn bits(self) -> u64 {
                let mut bytes = [0; 8];
                bytes[..size_of::<$type>()].copy_from_slice(&self.to_le_bytes());
                u64::from_le_bytes(bytes)
            }
        }
    )*};
}

integers!(i8 u8 i32 u32 i64 u64);

/// A whole number such that sums over 32 ranks have at most `bits` significant bits, and products are powers
/// of two up to 2⁸.
fn whole(random: u64, op: ReduceOp, rank: usize, bits: u32) -> f64 {
    if op == ReduceOp::Product {
        let magnitude = if rank < 8 && random & 2 == 2 { 2.0 } else { 1.0 };
        return if random & 1 == 1 { -magnitude } else { magnitude };
    }
    let bound = 1_u64 << (bits - 5);
    let drawn = random % (2 * bound + 1);
    drawn as f64 - bound as f64
}

/// In f64, where whole numbers of this size are exact.
fn total(values: &mut dyn Iterator<Item = f64>, op: ReduceOp) -> f64 {
    let combine = |a: f64, b: f64| match op {
        ReduceOp::Sum | ReduceOp::Average => a + b,
        ReduceOp::Product => a * b,
        ReduceOp::Min => a.min(b),
        ReduceOp::Max => a.max(b),
    };
    values.reduce(combine).unwrap()
}

macro_rules! floats {
    ($($type:ident, $significant:literal, $of:expr, $to:expr, $divide:expr;)*) => {$(
        impl Value for $type {
            fn draw(bits: u64, op: ReduceOp, rank: usize) -> $type {
                $of(whole(bits, op, rank, $significant))
            }
            fn combine(values: &mut dyn Iterator<Item = $type>, op: ReduceOp, ranks: usize) -> $type {
                let total = total(&mut values.map($to), op);
                if op == ReduceOp::Average { $divide(total, ranks) } else { $of(total) }
            }
            fn bits(self) -> u64 {
                u64::from(self.to_bits())
            }
        }
    )*};
}

#[expect(clippy::cast_possible_truncation, reason = "the number is exact in f32")]
fn single(value: f64) -> f32 {
    value as f32
}

floats! {
    f64, 40, |value: f64| value, |value: f64| value, |total: f64, ranks: usize| total / ranks as f64;
    f32, 24, single, f64::from, |total: f64, ranks: usize| single(total) / ranks as f32;
    f16, 11, f16::from_f64, f16::to_f64,
        |total: f64, ranks: usize| f16::from_f32(single(total) / ranks as f32);
    bf16, 8, bf16::from_f64, bf16::to_f64,
        |total: f64, ranks: usize| bf16::from_f32(single(total) / ranks as f32);
}

/// What a rank contributes.
pub(crate) fn contribution<T: Value>(seed: u64, op: ReduceOp, rank: usize, elems: usize) -> Vec<T> {
    let start = mix64(seed ^ mix64(rank as u64 + 1));
    (0..elems as u64).map(|index| T::draw(mix64(start.wrapping_add(index)), op, rank)).collect()
}

/// What all ranks end with, element by element.
pub(crate) fn combined<T: Value>(contributions: &[Vec<T>], op: ReduceOp) -> Vec<T> {
    let elems = contributions.first().map_or(0, Vec::len);
    let element = |index: usize| {
        let mut values = contributions.iter().map(|values| values[index]);
        T::combine(&mut values, op, contributions.len())
    };
    (0..elems).map(element).collect()
}

/// One number for the bits of a result.
pub(crate) fn hash<T: Value>(values: &[T]) -> u64 {
    values.iter().fold(values.len() as u64, |hash, value| mix64(hash ^ value.bits()))
}

/// The index of the first element that differs, or where one ends.
pub(crate) fn first_difference<T: Value>(got: &[T], expected: &[T]) -> Option<usize> {
    let differs = |(got, expected): (&T, &T)| got.bits() != expected.bits();
    let first = got.iter().zip(expected).position(differs);
    first.or((got.len() != expected.len()).then_some(got.len().min(expected.len())))
}

/// Runs an expression with `T` as the type of a dtype.
macro_rules! with_type {
    ($dtype:expr, $type:ident => $run:expr) => {{
        use hcrun_kernels::host_buffers::{bf16, f16};
        use hcrun_protocol::dtype::DType;
        match $dtype {
            DType::F32 => {
                type $type = f32;
                $run
            }
            DType::F64 => {
                type $type = f64;
                $run
            }
            DType::F16 => {
                type $type = f16;
                $run
            }
            DType::Bf16 => {
                type $type = bf16;
                $run
            }
            DType::I8 => {
                type $type = i8;
                $run
            }
            DType::U8 => {
                type $type = u8;
                $run
            }
            DType::I32 => {
                type $type = i32;
                $run
            }
            DType::U32 => {
                type $type = u32;
                $run
            }
            DType::I64 => {
                type $type = i64;
                $run
            }
            DType::U64 => {
                type $type = u64;
                $run
            }
        }
    }};
}
pub(crate) use with_type;

/// Every operation of every type.
pub(crate) fn all_operations() -> Vec<(DType, ReduceOp)> {
    let of =
        |dtype: DType| ReduceOp::ALL.into_iter().filter(move |op| op.takes(dtype)).map(move |op| (dtype, op));
    DType::ALL.into_iter().flat_map(of).collect()
}
