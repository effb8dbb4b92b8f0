//! The ten element types and the types that their totals are formed in.

use std::fmt::Debug;

use half::{bf16, f16};
use hcrun_protocol::dtype::{Codec, DType};

use super::levels::{AnyLevels, Levels};
use super::operation::Number;
use crate::wire::{self, Bf16, F16, Half};

/// A type whose values can lie in [`HostBuffers`](super::HostBuffers).
pub trait Element: Copy + Default + Debug + PartialEq + Send + Sync + 'static + sealed::Arithmetic {
    const DTYPE: DType;
}

pub(super) mod sealed {
    use super::{AnyLevels, Codec, Levels, Number};

    pub trait Arithmetic: Sized {
        /// Wide enough that a total is rounded to the element type once, when it is stored.
        type Wide: Number;
        /// The little-endian bytes of one element.
        type Word: Copy + 'static;

        fn widen(self) -> Self::Wide;
        /// Every NaN becomes the same one: the bits of a sum's NaN depend on the CPU.
        fn narrow(wide: Self::Wide) -> Self;
        fn from_word(word: Self::Word) -> Self;
        fn to_word(self) -> Self::Word;
        /// The elements as they lie in memory.
        fn bytes_of(values: &[Self]) -> &[u8];
        fn words(bytes: &[u8]) -> &[Self::Word];
        fn words_mut(bytes: &mut [u8]) -> &mut [Self::Word];
        /// As [`wire::unpack`](crate::wire::unpack).
        fn unpack(codec: Codec, payload: &[u8], into: &mut [Self]);
        fn wrap(levels: Levels<Self>) -> AnyLevels;
        fn unwrap(levels: AnyLevels) -> Option<Levels<Self>>;
    }
}

macro_rules! element {
    ($type:ident, $variant:ident, $wide:ident, $widen:expr, $narrow:expr, $unpack:expr) => {
        impl Element for $type {
            const DTYPE: DType = DType::$variant;
        }

        impl sealed::Arithmetic for $type {
            type Wide = $wide;
            type Word = [u8; size_of::<$type>()];

            #[inline(always)]
            fn widen(self) -> $wide {
                $widen(self)
            }
            #[inline(always)]
            fn narrow(wide: $wide) -> $type {
                $narrow(wide)
            }
            #[inline(always)]
            fn from_word(word: Self::Word) -> $type {
                $type::from_le_bytes(word)
            }
            #[inline(always)]
            fn to_word(self) -> Self::Word {
                self.to_le_bytes()
            }
            fn bytes_of(values: &[$type]) -> &[u8] {
                bytemuck::cast_slice(values)
            }
            fn words(bytes: &[u8]) -> &[Self::Word] {
                bytes.as_chunks().0
            }
            fn words_mut(bytes: &mut [u8]) -> &mut [Self::Word] {
                bytes.as_chunks_mut().0
            }
            fn unpack(codec: Codec, payload: &[u8], into: &mut [$type]) {
                $unpack(codec, payload, into)
            }
            fn wrap(levels: Levels<$type>) -> AnyLevels {
                AnyLevels::$variant(levels)
            }
            fn unwrap(levels: AnyLevels) -> Option<Levels<$type>> {
                match levels {
                    AnyLevels::$variant(levels) => Some(levels),
                    _ => None,
                }
            }
        }
    };
}

#[inline(always)]
fn same<T>(value: T) -> T {
    value
}

fn not_packed<T>(codec: Codec, _payload: &[u8], _into: &mut [T]) {
    unreachable!("only f32 is packed as `{codec}`: HostBuffers::reduce")
}

element!(f32, F32, f32, same, |sum: f32| if sum.is_nan() { f32::NAN } else { sum }, wire::unpack);
element!(f64, F64, f64, same, |sum: f64| if sum.is_nan() { f64::NAN } else { sum }, not_packed);
element!(
    f16,
    F16,
    f32,
    |value: f16| F16.value(value.to_bits()),
    |sum| f16::from_bits(F16.nearest(sum)),
    not_packed
);
element!(
    bf16,
    Bf16,
    f32,
    |value: bf16| Bf16.value(value.to_bits()),
    |sum| bf16::from_bits(Bf16.nearest(sum)),
    not_packed
);
element!(i8, I8, i8, same, same, not_packed);
element!(u8, U8, u8, same, same, not_packed);
element!(i32, I32, i32, same, same, not_packed);
element!(u32, U32, u32, same, same, not_packed);
element!(i64, I64, i64, same, same, not_packed);
element!(u64, U64, u64, same, same, not_packed);
