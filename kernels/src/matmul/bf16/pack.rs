//! Factors as `vdpbf16ps` wants them: pairs of bf16 that follow each other in depth, in one word.
//!
//! A factor is a number of lines (rows of the left, columns of the right one), each `depth` long. Panels of
//! `W` lines lie one after the other, each `[pairs, W]`; what is missing of lines and depth is zero.

#![expect(unsafe_code, reason = "conversions are intrinsics")]

use std::arch::x86_64::{
    __m512bh, __m512i, _mm256_loadu_ps, _mm512_castps256_ps512, _mm512_cvtne2ps_pbh, _mm512_loadu_ps,
    _mm512_loadu_si512, _mm512_permutexvar_epi16, _mm512_storeu_si512,
};
use std::mem::transmute;
use std::ops::Range;

use half::bf16;

/// Lines of a factor; either lines or depth follow each other in memory.
#[derive(Clone, Copy)]
pub(super) struct Lines<'a> {
    pub(super) data: &'a [f32],
    pub(super) stride: usize,
    pub(super) depth_stride: usize,
}

impl Lines<'_> {
    fn at(&self, line: usize, depth: usize) -> f32 {
        self.data[line * self.stride + depth * self.depth_stride]
    }

    fn from<const N: usize>(&self, line: usize, depth: usize) -> &[f32; N] {
        self.data[line * self.stride + depth * self.depth_stride..].first_chunk().expect("within a factor")
    }
}

/// Words that [`pack`] writes.
pub(super) fn packed_words<const W: usize>(lines: usize, depth: usize) -> usize {
    lines.div_ceil(W) * W * depth.div_ceil(2)
}

/// Packs `lines` and `depth` of a factor into the first words of `out`. `W` is 8 or a multiple of 16.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512bf16")]
pub(super) fn pack<const W: usize>(
    factor: Lines<'_>,
    lines: Range<usize>,
    depth: Range<usize>,
    out: &mut [u32],
) {
    let panel_words = W * depth.len().div_ceil(2);
    for (start, panel) in lines.clone().step_by(W).zip(out.chunks_exact_mut(panel_words)) {
        let end = (start + W).min(lines.end);
        if factor.depth_stride == 1 {
            pack_along_depth::<W>(factor, start..end, depth.clone(), panel);
        } else if factor.stride == 1 && end - start == W {
            pack_across::<W>(factor, start, depth.clone(), panel);
        } else {
            pack_plain::<W>(factor, start..end, depth.clone(), panel);
        }
    }
}

/// Any layout and any lengths.
fn pack_plain<const W: usize>(
    factor: Lines<'_>,
    lines: Range<usize>,
    depth: Range<usize>,
    panel: &mut [u32],
) {
    for (first, pair) in depth.clone().step_by(2).zip(panel.as_chunks_mut::<W>().0) {
        pair.fill(0);
        for (word, line) in pair.iter_mut().zip(lines.clone()) {
            let low = bf16::from_f32(factor.at(line, first)).to_bits();
            let high = if first + 1 < depth.end { factor.at(line, first + 1) } else { 0.0 };
            *word = u32::from(low) | u32::from(bf16::from_f32(high).to_bits()) << 16;
        }
    }
}

/// Depth follows itself in memory: 16 pairs of a line at a time.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512bf16")]
fn pack_along_depth<const W: usize>(
    factor: Lines<'_>,
    lines: Range<usize>,
    depth: Range<usize>,
    panel: &mut [u32],
) {
    let whole = depth.start + depth.len() / STEP * STEP;
    let pairs = panel.as_chunks_mut::<W>().0;
    for (block, start) in (depth.start..whole).step_by(STEP).enumerate() {
        let pairs = &mut pairs[block * STEP / 2..][..STEP / 2];
        if lines.len() < W {
            pairs.as_flattened_mut().fill(0);
        }
        for (place, line) in lines.clone().enumerate() {
            let values: &[f32; STEP] = factor.from(line, start);
            let (low, high) = values.split_at(STEP / 2);
            let words = words_of(halves_of(low, high));
            for (pair, word) in pairs.iter_mut().zip(words) {
                pair[place] = word;
            }
        }
    }
    pack_plain::<W>(factor, lines, whole..depth.end, &mut panel[(whole - depth.start) / 2 * W..]);
}

/// Lines follow each other in memory: a pair of 16 or 8 lines at a time.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512bf16")]
fn pack_across<const W: usize>(factor: Lines<'_>, start: usize, depth: Range<usize>, panel: &mut [u32]) {
    for (first, pair) in depth.clone().step_by(2).zip(panel.as_chunks_mut::<W>().0) {
        let low: &[f32; W] = factor.from(start, first);
        let high: &[f32; W] = if first + 1 < depth.end { factor.from(start, first + 1) } else { &[0.0; W] };
        if W == 8 {
            pair.copy_from_slice(&words_of(interleaved(halves_of_eights(low, high)))[..8]);
        } else {
            let parts = low.as_chunks::<16>().0.iter().zip(high.as_chunks::<16>().0);
            for ((low, high), words) in parts.zip(pair.as_chunks_mut::<16>().0) {
                *words = words_of(interleaved(halves_of(low, high)));
            }
        }
    }
}

/// Rounds 16 values and 16 more, in order.
///
/// # Panics
/// If there are fewer.
#[target_feature(enable = "avx512f,avx512bf16")]
fn halves_of(low: &[f32], high: &[f32]) -> __m512i {
    assert!(low.len() >= 16 && high.len() >= 16, "two vectors");
    // SAFETY: each load reads 16 values that are there; vectors of bf16 are 64 bytes of plain data.
    unsafe {
        transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(
            _mm512_loadu_ps(high.as_ptr()),
            _mm512_loadu_ps(low.as_ptr()),
        ))
    }
}

/// Rounds 8 values to the elements 0 to 7 and 8 more to the elements 16 to 23.
///
/// # Panics
/// If there are fewer.
#[target_feature(enable = "avx512f,avx512dq,avx512bf16")]
fn halves_of_eights(low: &[f32], high: &[f32]) -> __m512i {
    assert!(low.len() >= 8 && high.len() >= 8, "two halves of vectors");
    // SAFETY: each load reads 8 values that are there; vectors of bf16 are 64 bytes of plain data.
    unsafe {
        let low = _mm512_castps256_ps512(_mm256_loadu_ps(low.as_ptr()));
        let high = _mm512_castps256_ps512(_mm256_loadu_ps(high.as_ptr()));
        // The upper halves go to elements that nobody reads.
        transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(high, low))
    }
}

/// Element `i` beside element `16 + i`.
#[target_feature(enable = "avx512f,avx512bw")]
fn interleaved(halves: __m512i) -> __m512i {
    const PLACES: [u16; STEP] = {
        let mut places = [0; STEP];
        let mut i = 0;
        while i < 16 {
            places[2 * i as usize] = i;
            places[2 * i as usize + 1] = 16 + i;
            i += 1;
        }
        places
    };
    // SAFETY: `PLACES` is 64 bytes.
    let places = unsafe { _mm512_loadu_si512(PLACES.as_ptr().cast()) };
    _mm512_permutexvar_epi16(places, halves)
}

#[target_feature(enable = "avx512f")]
fn words_of(vector: __m512i) -> [u32; 16] {
    let mut words = [0; 16];
    // SAFETY: `words` is 64 bytes.
    unsafe { _mm512_storeu_si512(words.as_mut_ptr().cast(), vector) };
    words
}

/// bf16 of one vector.
const STEP: usize = 32;
