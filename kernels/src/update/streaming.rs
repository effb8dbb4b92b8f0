//! Updates of ranges too large for the caches: new parameters go past them.
//!
//! A plain store first reads the line that it overwrites: 32 bytes of traffic a parameter instead of 28 for
//! Adam. Streamed stores do not. Below [`LEAST_ELEMS`] the next forward pass would find the parameters in
//! the cache, so there they are stored as usual.

#![expect(unsafe_code, reason = "streaming stores and target features are intrinsics")]

use std::arch::x86_64::{
    __m256, __m512, _mm_sfence, _mm256_loadu_ps, _mm256_stream_ps, _mm512_loadu_ps, _mm512_stream_ps,
};

use pulp::Arch;

use crate::simd;

/// What one element becomes: parameter, gradient, first and second moment; returns the new parameter.
pub(crate) trait Element: Copy {
    fn update(&self, param: f32, gradient: f32, first: &mut f32, second: &mut f32) -> f32;
}

/// The four slices that are read and the one that is written, all of one length.
pub(super) struct Range<'a> {
    pub(super) params: &'a [f32],
    pub(super) gradient: &'a [f32],
    pub(super) first: &'a mut [f32],
    pub(super) second: &'a mut [f32],
    pub(super) out: &'a mut [f32],
}

/// 16 MiB of new parameters: more than a core's share of the last cache of current CPUs.
pub(super) const LEAST_ELEMS: usize = 4 << 20;

/// Whether [`update`] can be called for ranges of this length.
pub(super) fn pays(elems: usize) -> bool {
    elems >= LEAST_ELEMS && !matches!(simd::arch(), Arch::Scalar)
}

/// As the plain loop, in its bits.
///
/// # Panics
/// On a CPU without AVX2, or if the lengths differ.
pub(super) fn update(element: impl Element, range: Range<'_>) {
    let elems = range.out.len();
    let lengths = [range.params.len(), range.gradient.len(), range.first.len(), range.second.len()];
    assert!(lengths == [elems; 4], "slices of {lengths:?} for {elems} elements");
    match simd::arch() {
        // SAFETY: whoever has a `V4` has AVX-512F.
        Arch::V4(_) => unsafe { update_avx512(element, range) },
        // SAFETY: whoever has a `V3` has AVX2.
        Arch::V3(_) => unsafe { update_avx2(element, range) },
        _ => panic!("callers ask `pays`"),
    }
}

macro_rules! streaming {
    ($name:ident, $feature:literal, $vector:ty, $lanes:literal, $load:ident, $stream:ident) => {
        #[target_feature(enable = $feature)]
        fn $name(element: impl Element, range: Range<'_>) {
            let Range { params, gradient, first, second, out } = range;
            // Streamed stores want whole vectors at aligned addresses.
            let head = out.as_ptr().align_offset(size_of::<$vector>()).min(out.len());
            let whole = head + (out.len() - head) / $lanes * $lanes;
            for i in (0..head).chain(whole..out.len()) {
                out[i] = element.update(params[i], gradient[i], &mut first[i], &mut second[i]);
            }
            let vectors = params[head..whole]
                .as_chunks::<$lanes>()
                .0
                .iter()
                .zip(gradient[head..whole].as_chunks::<$lanes>().0)
                .zip(first[head..whole].as_chunks_mut::<$lanes>().0)
                .zip(second[head..whole].as_chunks_mut::<$lanes>().0)
                .zip(out[head..whole].as_chunks_mut::<$lanes>().0);
            for ((((params, gradient), first), second), out) in vectors {
                // Loaded before anything is stored: a load behind a store at the same place of another page
                // waits for it.
                let (params, gradient, mut m, mut v) = (*params, *gradient, *first, *second);
                let mut new = [0.0; $lanes];
                for i in 0..$lanes {
                    new[i] = element.update(params[i], gradient[i], &mut m[i], &mut v[i]);
                }
                (*first, *second) = (m, v);
                // SAFETY: `new` holds a vector; so does `out`, at a multiple of a vector's bytes from an
                // aligned address. Both are borrowed here alone.
                unsafe { $stream(out.as_mut_ptr(), $load(new.as_ptr())) };
            }
            // Streamed stores are not ordered with others; whoever reads `out` next may be another thread.
            _mm_sfence();
        }
    };
}

streaming!(update_avx512, "avx512f", __m512, 16, _mm512_loadu_ps, _mm512_stream_ps);
streaming!(update_avx2, "avx2", __m256, 8, _mm256_loadu_ps, _mm256_stream_ps);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::tests::{Case, MOMENTS, SCALARS, at, bits, levels};
    use crate::update::{AdamElement, AdamwElement};

    fn streamed(element: impl Element, case: &Case) -> Vec<u64> {
        run(case, |range| update(element, range))
    }

    fn plain(element: impl Element, case: &Case) -> Vec<u64> {
        run(case, |Range { params, gradient, first, second, out }| {
            crate::update::each(element, params, gradient, first, second, out);
        })
    }

    fn run(case: &Case, update: impl Fn(Range<'_>)) -> Vec<u64> {
        let (params, gradient) = (case.floats(1), case.floats(2));
        let [mut first, mut second, mut out] = [case.floats(3), case.squares(4), case.zeros()];
        let (first, second, out) = (&mut *first, &mut *second, &mut *out);
        update(Range { params: &params, gradient: &gradient, first, second, out });
        [bits(first), bits(second), bits(out)].concat()
    }

    /// Whatever the vectors, alignment and length: the bits of the plain loop.
    #[test]
    fn streamed_parameters_have_the_bits_of_the_plain_loop() {
        let adam = AdamElement { scalars: SCALARS, moments: MOMENTS };
        let adamw = AdamwElement::new(&SCALARS, &MOMENTS);
        for (name, arch) in levels().into_iter().filter(|(_, arch)| !matches!(arch, Arch::Scalar)) {
            for case in Case::all() {
                let [got_adam, got_adamw] = at(arch, || [streamed(adam, &case), streamed(adamw, &case)]);
                assert!(got_adam == plain(adam, &case), "Adam by {name}, {case:?}");
                assert!(got_adamw == plain(adamw, &case), "AdamW by {name}, {case:?}");
            }
        }
    }

    #[test]
    fn large_ranges_are_streamed_where_the_cpu_can() {
        for (name, arch) in levels() {
            let pays = [LEAST_ELEMS - 1, LEAST_ELEMS].map(|elems| at(arch, || pays(elems)));
            assert_eq!(pays, [false, !matches!(arch, Arch::Scalar)], "{name}");
        }
    }
}
