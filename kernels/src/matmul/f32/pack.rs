//! Factors in the order in which tiles read them.

#![expect(unsafe_code, reason = "transposes by vectors")]

use std::arch::x86_64::{_MM_TRANSPOSE4_PS, _mm_loadu_ps, _mm_storeu_ps};

/// A cache line, so that no vector of a packed factor crosses two.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Line([f32; 16]);

/// Room that grows once.
#[derive(Debug, Default)]
pub(super) struct Room(Vec<Line>);

impl Room {
    pub(super) const fn new() -> Room {
        Room(Vec::new())
    }

    pub(super) fn of(&mut self, elems: usize) -> &mut [f32] {
        let lines = elems.div_ceil(16);
        if self.0.len() < lines {
            self.0.resize(lines, Line([0.0; 16]));
        }
        // SAFETY: a line is 16 elements without padding.
        let all =
            unsafe { std::slice::from_raw_parts_mut(self.0.as_mut_ptr().cast::<f32>(), self.0.len() * 16) };
        &mut all[..elems]
    }
}

/// Copies rows of `count` elements, `stride` apart, to rows of `width`, a multiple of 16; what is missing
/// becomes zero.
pub(super) fn copy_rows(data: &[f32], stride: usize, count: usize, width: usize, out: &mut [f32]) {
    for (row, out) in out.chunks_exact_mut(width).enumerate() {
        let from = &data[row * stride..][..count];
        let (whole, rest) = from.as_chunks::<16>();
        let (out, tail) = out.as_chunks_mut::<16>();
        debug_assert!(tail.is_empty(), "rows of whole vectors");
        // By vectors: a call for each row would take longer than to copy it.
        for (out, from) in out.iter_mut().zip(whole) {
            *out = *from;
        }
        if let Some((out, beyond)) = out[whole.len()..].split_first_mut() {
            for (place, out) in out.iter_mut().enumerate() {
                *out = rest.get(place).copied().unwrap_or(0.0);
            }
            beyond.fill([0.0; 16]);
        }
    }
}

/// Copies `depth` rows of `count` elements, `stride` apart, to panels of `height` of the elements, at most
/// [`EIGHT`]; a panel's rows are [`EIGHT`] elements apart.
pub(super) fn copy_eights(
    data: &[f32],
    stride: usize,
    height: usize,
    count: usize,
    depth: usize,
    out: &mut [f32],
) {
    let out = out.as_chunks_mut::<EIGHT>().0;
    for row in 0..depth {
        let from = &data[row * stride..];
        for (panel, start) in (0..count).step_by(height).enumerate() {
            let out = &mut out[panel * depth + row];
            // Elements beyond `height` are read by nobody.
            match from[start..].first_chunk::<EIGHT>() {
                Some(from) => *out = *from,
                None => {
                    let count = (count - start).min(height);
                    out[..count].copy_from_slice(&from[start..][..count]);
                }
            }
        }
    }
}

/// Copies `lines` of elements that follow each other, `stride` apart, to the columns of `out`, rows of `width`;
/// what is missing becomes zero.
pub(super) fn transpose(data: &[f32], stride: usize, lines: usize, width: usize, out: &mut [f32]) {
    let depth = out.len() / width;
    assert!(
        lines <= width && lines > 0 && (lines - 1) * stride + depth <= data.len(),
        "lines within a factor"
    );
    let (whole_lines, whole_depth) = (lines / 4 * 4, depth / 4 * 4);
    for start in (0..whole_depth).step_by(BLOCK) {
        for line in (0..whole_lines).step_by(4) {
            for depth in (start..(start + BLOCK).min(whole_depth)).step_by(4) {
                // SAFETY: four lines and four depths, all within `data` and `out`: asserted above.
                unsafe {
                    let from = data.as_ptr().add(line * stride + depth);
                    let mut a = _mm_loadu_ps(from);
                    let mut b = _mm_loadu_ps(from.add(stride));
                    let mut c = _mm_loadu_ps(from.add(2 * stride));
                    let mut d = _mm_loadu_ps(from.add(3 * stride));
                    _MM_TRANSPOSE4_PS(&mut a, &mut b, &mut c, &mut d);
                    let to = out.as_mut_ptr().add(depth * width + line);
                    _mm_storeu_ps(to, a);
                    _mm_storeu_ps(to.add(width), b);
                    _mm_storeu_ps(to.add(2 * width), c);
                    _mm_storeu_ps(to.add(3 * width), d);
                }
            }
        }
    }
    for (depth, out) in out.chunks_exact_mut(width).enumerate() {
        let from = if depth < whole_depth { whole_lines } else { 0 };
        for (line, out) in out.iter_mut().enumerate().skip(from) {
            *out = if line < lines { data[line * stride + depth] } else { 0.0 };
        }
    }
}

/// Elements of a panel's row of the left factor: half a line, and no fewer than a tile has rows.
pub(super) const EIGHT: usize = 8;
/// Depths that lie in one cache line.
const BLOCK: usize = 16;
