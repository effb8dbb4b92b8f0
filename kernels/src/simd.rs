//! Loops compiled once per instruction set, chosen at run time.

/// Defines functions whose body is compiled for plain x86-64, AVX2 and AVX-512 and dispatched by what the
/// CPU has. The body holds plain loops over slices, which the compiler vectorises.
///
/// All slices share one lifetime, written first: `pub fn relu<'a, T>(x: &'a [T], y: &'a mut [T]) { … }`.
/// What the body calls must be `#[inline(always)]`, else it is compiled for the plain instruction set.
macro_rules! kernel {
    ($($(#[$meta:meta])* $vis:vis fn $name:ident<$life:lifetime $(, $real:ident)?>(
        $($arg:ident: $type:ty),* $(,)?
    ) $(-> $result:ty)? $body:block)*) => {$(
        $(#[$meta])*
        $vis fn $name<$life $(, $real: $crate::Real)?>($($arg: $type),*) $(-> $result)? {
            struct Task<$life $(, $real: $crate::Real)?> {
                $($arg: $type),*
            }
            impl<$life $(, $real: $crate::Real)?> pulp::WithSimd for Task<$life $(, $real)?> {
                type Output = $crate::simd::kernel!(@result $($result)?);
                #[inline(always)]
                fn with_simd<S: pulp::Simd>(self, _simd: S) -> Self::Output {
                    let Task { $($arg),* } = self;
                    $body
                }
            }
            pulp::Arch::new().dispatch(Task { $($arg),* })
        }
    )*};
    (@result) => { () };
    (@result $result:ty) => { $result };
}

pub(crate) use kernel;
