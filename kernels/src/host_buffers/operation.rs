//! What combines two numbers, one type an operation, so that each loop is compiled for one of them.

/// A type that totals are formed in.
pub trait Number: Copy + Default + 'static {
    fn sum(self, other: Self) -> Self;
    fn product(self, other: Self) -> Self;
    /// `minimum` of IEEE 754-2019.
    fn minimum(self, other: Self) -> Self;
    /// `maximum` of IEEE 754-2019.
    fn maximum(self, other: Self) -> Self;
    fn divided(self, by: Self) -> Self;
    /// Rounds to nearest.
    fn of_count(count: usize) -> Self;
}

/// Its bits do not depend on which operand is first, but for those of NaN.
pub(super) trait Operation: Copy {
    fn apply<N: Number>(self, a: N, b: N) -> N;
}

macro_rules! operations {
    ($($name:ident, $method:ident;)*) => {$(
        #[derive(Clone, Copy)]
        pub(super) struct $name;

        impl Operation for $name {
            #[inline(always)]
            fn apply<N: Number>(self, a: N, b: N) -> N {
                a.$method(b)
            }
        }
    )*};
}

operations! {
    Sum, sum;
    Product, product;
    Minimum, minimum;
    Maximum, maximum;
}

macro_rules! float {
    ($type:ident) => {
        impl Number for $type {
            #[inline(always)]
            fn sum(self, other: $type) -> $type {
                self + other
            }
            #[inline(always)]
            fn product(self, other: $type) -> $type {
                self * other
            }
            #[inline(always)]
            fn minimum(self, other: $type) -> $type {
                // Equal numbers have equal bits, but for zeros: any sign makes the minimum negative.
                let equal = $type::from_bits(self.to_bits() | other.to_bits());
                let ordered = if self < other { self } else { other };
                let number = if self == other { equal } else { ordered };
                if self.is_nan() | other.is_nan() { $type::NAN } else { number }
            }
            #[inline(always)]
            fn maximum(self, other: $type) -> $type {
                let equal = $type::from_bits(self.to_bits() & other.to_bits());
                let ordered = if self > other { self } else { other };
                let number = if self == other { equal } else { ordered };
                if self.is_nan() | other.is_nan() { $type::NAN } else { number }
            }
            #[inline(always)]
            fn divided(self, by: $type) -> $type {
                self / by
            }
            #[inline(always)]
            fn of_count(count: usize) -> $type {
                count as $type
            }
        }
    };
}

float!(f32);
float!(f64);

macro_rules! integer {
    ($($type:ident)*) => {$(
        impl Number for $type {
            #[inline(always)]
            fn sum(self, other: $type) -> $type {
                self.wrapping_add(other)
            }
            #[inline(always)]
            fn product(self, other: $type) -> $type {
                self.wrapping_mul(other)
            }
            #[inline(always)]
            fn minimum(self, other: $type) -> $type {
                self.min(other)
            }
            #[inline(always)]
            fn maximum(self, other: $type) -> $type {
                self.max(other)
            }
            fn divided(self, _by: $type) -> $type {
                unreachable!("integers have no average: HostBuffers::op")
            }
            fn of_count(_count: usize) -> $type {
                unreachable!("integers have no average: HostBuffers::op")
            }
        }
    )*};
}

integer!(i8 u8 i32 u32 i64 u64);
