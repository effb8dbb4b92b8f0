//! The vectors of an instruction set, as much of them as a product needs.

#![expect(unsafe_code, reason = "vectors are intrinsics")]

use std::arch::x86_64::{
    __m256, __m256i, __m512, __mmask16, _mm256_cmpgt_epi32, _mm256_fmadd_ps, _mm256_loadu_ps,
    _mm256_maskload_ps, _mm256_maskstore_ps, _mm256_mul_ps, _mm256_set1_epi32, _mm256_set1_ps,
    _mm256_setr_epi32, _mm256_setzero_ps, _mm256_storeu_ps, _mm512_fmadd_ps, _mm512_loadu_ps,
    _mm512_mask_storeu_ps, _mm512_maskz_loadu_ps, _mm512_mul_ps, _mm512_set1_ps, _mm512_setzero_ps,
    _mm512_storeu_ps,
};

use super::tile::{self, Factors, Target};

/// # Safety
/// All functions need a CPU that has the instructions; pointers are those of as many elements as a vector
/// has, or as the mask names.
pub(super) unsafe trait Lanes: Copy {
    /// Elements of a vector.
    const WIDTH: usize;
    /// Rows and vectors of a tile: their sums, one row of the right factor and one element fit into the
    /// registers.
    const TILE_ROWS: usize;
    const TILE_VECTORS: usize;
    const TILE_COLUMNS: usize = Self::WIDTH * Self::TILE_VECTORS;

    type Vector: Copy;
    type Mask: Copy;

    fn is_available() -> bool;

    /// Of the first `count` elements, at most [`Lanes::WIDTH`].
    unsafe fn mask(count: usize) -> Self::Mask;
    unsafe fn zero() -> Self::Vector;
    unsafe fn splat(x: f32) -> Self::Vector;
    unsafe fn load(from: *const f32) -> Self::Vector;
    unsafe fn load_some(mask: Self::Mask, from: *const f32) -> Self::Vector;
    unsafe fn store(to: *mut f32, x: Self::Vector);
    unsafe fn store_some(mask: Self::Mask, to: *mut f32, x: Self::Vector);
    unsafe fn mul(a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// `a · b + c`, rounded once.
    unsafe fn mul_add(a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector;

    /// [`tile::multiply`], compiled for the instructions.
    unsafe fn multiply_tile<const ROWS: usize, const VECTORS: usize, const A_BY_ROWS: bool>(
        factors: &Factors<'_>,
        target: &mut Target<'_>,
    );
}

#[derive(Clone, Copy)]
pub(super) struct Avx512;

// SAFETY: `is_available` asks for all that the functions use.
unsafe impl Lanes for Avx512 {
    const WIDTH: usize = 16;
    const TILE_ROWS: usize = 8;
    const TILE_VECTORS: usize = 2;

    type Vector = __m512;
    type Mask = __mmask16;

    fn is_available() -> bool {
        is_x86_feature_detected!("avx512f")
    }

    #[inline(always)]
    unsafe fn mask(count: usize) -> __mmask16 {
        0xffff >> (16 - count)
    }
    #[inline(always)]
    unsafe fn zero() -> __m512 {
        // SAFETY: as the trait asks; so are all below.
        unsafe { _mm512_setzero_ps() }
    }
    #[inline(always)]
    unsafe fn splat(x: f32) -> __m512 {
        unsafe { _mm512_set1_ps(x) }
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> __m512 {
        unsafe { _mm512_loadu_ps(from) }
    }
    #[inline(always)]
    unsafe fn load_some(mask: __mmask16, from: *const f32) -> __m512 {
        unsafe { _mm512_maskz_loadu_ps(mask, from) }
    }
    #[inline(always)]
    unsafe fn store(to: *mut f32, x: __m512) {
        unsafe { _mm512_storeu_ps(to, x) }
    }
    #[inline(always)]
    unsafe fn store_some(mask: __mmask16, to: *mut f32, x: __m512) {
        unsafe { _mm512_mask_storeu_ps(to, mask, x) }
    }
    #[inline(always)]
    unsafe fn mul(a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_mul_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn mul_add(a: __m512, b: __m512, c: __m512) -> __m512 {
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }

    #[target_feature(enable = "avx512f")]
    unsafe fn multiply_tile<const ROWS: usize, const VECTORS: usize, const A_BY_ROWS: bool>(
        factors: &Factors<'_>,
        target: &mut Target<'_>,
    ) {
        // SAFETY: the CPU has the instructions, as the trait asks.
        unsafe { tile::multiply::<Avx512, ROWS, VECTORS, A_BY_ROWS>(factors, target) }
    }
}

#[derive(Clone, Copy)]
pub(super) struct Avx2;

// SAFETY: `is_available` asks for all that the functions use.
unsafe impl Lanes for Avx2 {
    const WIDTH: usize = 8;
    const TILE_ROWS: usize = 6;
    const TILE_VECTORS: usize = 2;

    type Vector = __m256;
    type Mask = __m256i;

    fn is_available() -> bool {
        is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")
    }

    #[inline(always)]
    unsafe fn mask(count: usize) -> __m256i {
        let count = i32::try_from(count).expect("at most a vector");
        // SAFETY: as the trait asks; so are all below.
        unsafe { _mm256_cmpgt_epi32(_mm256_set1_epi32(count), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7)) }
    }
    #[inline(always)]
    unsafe fn zero() -> __m256 {
        unsafe { _mm256_setzero_ps() }
    }
    #[inline(always)]
    unsafe fn splat(x: f32) -> __m256 {
        unsafe { _mm256_set1_ps(x) }
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> __m256 {
        unsafe { _mm256_loadu_ps(from) }
    }
    #[inline(always)]
    unsafe fn load_some(mask: __m256i, from: *const f32) -> __m256 {
        unsafe { _mm256_maskload_ps(from, mask) }
    }
    #[inline(always)]
    unsafe fn store(to: *mut f32, x: __m256) {
        unsafe { _mm256_storeu_ps(to, x) }
    }
    #[inline(always)]
    unsafe fn store_some(mask: __m256i, to: *mut f32, x: __m256) {
        unsafe { _mm256_maskstore_ps(to, mask, x) }
    }
    #[inline(always)]
    unsafe fn mul(a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_mul_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn mul_add(a: __m256, b: __m256, c: __m256) -> __m256 {
        unsafe { _mm256_fmadd_ps(a, b, c) }
    }

    #[target_feature(enable = "avx2,fma")]
    unsafe fn multiply_tile<const ROWS: usize, const VECTORS: usize, const A_BY_ROWS: bool>(
        factors: &Factors<'_>,
        target: &mut Target<'_>,
    ) {
        // SAFETY: the CPU has the instructions, as the trait asks.
        unsafe { tile::multiply::<Avx2, ROWS, VECTORS, A_BY_ROWS>(factors, target) }
    }
}
