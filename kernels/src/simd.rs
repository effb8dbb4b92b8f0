//! Loops compiled once per instruction set, chosen at run time.

/// Defines functions whose body is compiled for plain x86-64, AVX2 and AVX-512 and dispatched by what the
/// CPU has. The body holds plain loops over slices, which the compiler vectorises.
///
/// All slices share one lifetime, written first: `pub fn relu<'a, T>(x: &'a [T], y: &'a mut [T]) { … }`,
/// where a bare type parameter is a [`Real`](crate::Real). Others follow a semicolon, with one bound each:
/// `fn fold<'a; T: Element>(…)`. What the body calls must be `#[inline(always)]`, else it is compiled for
/// the plain instruction set.
macro_rules! kernel {
    ($($(#[$meta:meta])* $vis:vis fn $name:ident<
        $life:lifetime $(, $real:ident)? $(; $($param:ident: $bound:path),+)?
    >(
        $($arg:ident: $type:ty),* $(,)?
    ) $(-> $result:ty)? $body:block)*) => {$(
        $(#[$meta])*
        $vis fn $name<$life $(, $real: $crate::Real)? $($(, $param: $bound)+)?>(
            $($arg: $type),*
        ) $(-> $result)? {
            struct Task<$life $(, $real: $crate::Real)? $($(, $param: $bound)+)?> {
                $($arg: $type),*
            }
            impl<$life $(, $real: $crate::Real)? $($(, $param: $bound)+)?> pulp::WithSimd
                for Task<$life $(, $real)? $($(, $param)+)?>
            {
                type Output = $crate::simd::kernel!(@result $($result)?);
                #[inline(always)]
                fn with_simd<S: pulp::Simd>(self, _simd: S) -> Self::Output {
                    let Task { $($arg),* } = self;
                    $body
                }
            }
            $crate::simd::arch()
                .dispatch(Task::<$life $(, $real)? $($(, $param)+)?> { $($arg),* })
        }
    )*};
    (@result) => { () };
    (@result $result:ty) => { $result };
}

pub(crate) use kernel;

/// The widest instruction set that the CPU has: AVX-512, AVX2 or neither. A value of it is the proof.
#[inline]
pub(crate) fn arch() -> pulp::Arch {
    #[cfg(test)]
    if let Some(arch) = tests::chosen() {
        return arch;
    }
    pulp::Arch::new()
}

#[cfg(test)]
pub(crate) mod tests;
