//! Updates of ranges too large for the caches: new parameters go past them.
//!
//! A plain store first reads the line that it overwrites: 32 bytes of traffic a parameter instead of 28 for
//! Adam. Streamed stores do not. Below [`LEAST_ELEMS`] the next forward pass would find the parameters in
//! the cache, so there they are stored as usual.

#![expect(unsafe_code, reason = "streaming stores and target features are intrinsics")]

use std::arch::x86_64::{
    __m256, __m512, _mm_sfence, _mm256_loadu_ps, _mm256_stream_ps, _mm512_loadu_ps, _mm512_stream_ps,
};

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
    elems >= LEAST_ELEMS && is_x86_feature_detected!("avx2")
}

/// As the plain loop, in its bits.
///
/// # Panics
/// On a CPU without AVX2, or if the lengths differ.
pub(super) fn update(element: impl Element, range: Range<'_>) {
    let elems = range.out.len();
    let lengths = [range.params.len(), range.gradient.len(), range.first.len(), range.second.len()];
    assert!(lengths == [elems; 4], "slices of {lengths:?} for {elems} elements");
    if is_x86_feature_detected!("avx512f") {
        // SAFETY: the CPU has AVX-512F.
        unsafe { update_avx512(element, range) }
    } else {
        assert!(is_x86_feature_detected!("avx2"), "callers ask `pays`");
        // SAFETY: the CPU has AVX2.
        unsafe { update_avx2(element, range) }
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
    use crate::update::tests::{MOMENTS, SCALARS, values};
    use crate::update::{AdamwElement, adamw_cached};

    /// Whatever the vectors, alignment and length: the bits of the plain loop.
    #[test]
    fn streamed_parameters_have_the_bits_of_the_plain_loop() {
        let element = AdamwElement::new(&SCALARS, &MOMENTS);
        type Update = fn(AdamwElement, Range<'_>);
        let mut paths: Vec<(&str, Update)> = Vec::new();
        if is_x86_feature_detected!("avx512f") {
            // SAFETY: the CPU has AVX-512F.
            paths.push(("AVX-512", |element, range| unsafe { update_avx512(element, range) }));
        }
        if is_x86_feature_detected!("avx2") {
            // SAFETY: the CPU has AVX2.
            paths.push(("AVX2", |element, range| unsafe { update_avx2(element, range) }));
        }
        for (name, path) in paths {
            for (start, elems) in [(0, 0), (0, 1), (1, 15), (3, 16), (0, 64), (5, 203), (2, 1000)] {
                let all = [1, 2, 3, 4].map(|seed| values(seed, start + elems));
                let [params, gradient, first, second] = &all.map(|mut values| values.split_off(start));
                let second: Vec<f32> = second.iter().map(|x| x * x).collect();
                let [mut m, mut v, mut m_plain, mut v_plain] =
                    [first.clone(), second.clone(), first.clone(), second];
                let (mut streamed, mut plain) = (vec![0.0; start + elems], vec![0.0; elems]);
                let out = &mut streamed[start..];
                path(element, Range { params, gradient, first: &mut m, second: &mut v, out });
                adamw_cached(SCALARS, MOMENTS, params, gradient, &mut m_plain, &mut v_plain, &mut plain);
                assert_eq!((out.to_vec(), m, v), (plain, m_plain, v_plain), "{name}, {start}, {elems}");
            }
        }
    }
}
