//! One tile of a product, its sums in registers.

#![expect(unsafe_code, reason = "the tile is intrinsics")]

use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};

use super::lanes::Lanes;
use crate::matmul::Addend;

/// What a tile is the product of.
pub(super) struct Factors<'a> {
    /// A row's elements of depth follow each other and rows are `a_stride` apart, or the other way round.
    pub(super) a: &'a [f32],
    pub(super) a_stride: usize,
    /// Columns follow each other; depth is `b_stride` apart.
    pub(super) b: &'a [f32],
    pub(super) b_stride: usize,
    pub(super) depth: usize,
    pub(super) scale: f32,
}

/// Where a tile is put.
pub(super) struct Target<'a> {
    pub(super) c: &'a mut [f32],
    pub(super) row_stride: usize,
    /// At most those of the tile.
    pub(super) columns: usize,
    pub(super) addend: Addend<'a, f32>,
}

/// A tile of `ROWS` rows and up to `VECTORS` vectors of columns.
///
/// # Panics
/// If a slice is too short.
///
/// # Safety
/// The CPU has the instructions of `L`.
#[inline(always)]
pub(super) unsafe fn multiply<L: Lanes, const ROWS: usize, const VECTORS: usize, const A_BY_ROWS: bool>(
    factors: &Factors<'_>,
    target: &mut Target<'_>,
) {
    let &Factors { a, a_stride, b, b_stride, depth, scale } = factors;
    let (a_lines, a_line) = if A_BY_ROWS { (ROWS, depth) } else { (depth, ROWS) };
    assert!(depth > 0 && (a_lines - 1) * a_stride + a_line <= a.len(), "left factor of a tile");
    assert!((depth - 1) * b_stride + VECTORS * L::WIDTH <= b.len(), "right factor of a tile");
    let (row_stride, columns) = (target.row_stride, target.columns);
    assert!(columns <= VECTORS * L::WIDTH && (VECTORS - 1) * L::WIDTH < columns, "columns of a tile");
    assert!((ROWS - 1) * row_stride + columns <= target.c.len(), "product of a tile");
    if depth >= PREFETCH_DEPTH {
        for row in 0..ROWS {
            for vector in 0..VECTORS {
                let line = target.c.as_ptr().wrapping_add(row * row_stride + vector * L::WIDTH);
                // SAFETY: all CPUs of this architecture have it, and it reads nothing that a program could see.
                unsafe { _mm_prefetch::<_MM_HINT_T0>(line.cast()) };
            }
        }
    }

    // SAFETY: `a` is read at rows below `ROWS` and depths below `depth`, `b` at depths below `depth` and
    // columns below a tile's: within what was asserted. The CPU has the instructions.
    let mut sums = unsafe {
        let (mut a, mut b) = (a.as_ptr(), b.as_ptr());
        let (row_step, depth_step) = if A_BY_ROWS { (a_stride, 1) } else { (1, a_stride) };
        let mut sums = [[L::zero(); VECTORS]; ROWS];
        for _ in 0..depth {
            add::<L, ROWS, VECTORS>(&mut sums, a, row_step, b);
            a = a.wrapping_add(depth_step);
            b = b.wrapping_add(b_stride);
        }
        sums
    };

    // SAFETY: the product is read and written at rows below `ROWS` and columns below `columns`, the addend's
    // row at such columns: within what was asserted. The CPU has the instructions.
    unsafe {
        let c = target.c.as_mut_ptr();
        let (addend, addend_stride) = match target.addend {
            Addend::Zero => (None, 0),
            Addend::Product => (Some(c.cast_const()), row_stride),
            Addend::Row(row) => {
                assert!(columns <= row.len(), "addend of a tile");
                (Some(row.as_ptr()), 0)
            }
        };
        let scale = L::splat(scale);
        let last = columns - (VECTORS - 1) * L::WIDTH;
        let mask = L::mask(last);
        let is_whole = |vector| vector + 1 < VECTORS || last == L::WIDTH;
        // All loads come first: where rows are shorter than vectors, a load would wait for the stores to the
        // rows before it.
        for (row, sums) in sums.iter_mut().enumerate() {
            for (vector, sum) in sums.iter_mut().enumerate() {
                *sum = match addend {
                    None => L::mul(*sum, scale),
                    Some(addend) => {
                        let from = addend.add(row * addend_stride + vector * L::WIDTH);
                        let addend = if is_whole(vector) { L::load(from) } else { L::load_some(mask, from) };
                        L::mul_add(*sum, scale, addend)
                    }
                };
            }
        }
        for (row, sums) in sums.iter().enumerate() {
            for (vector, sum) in sums.iter().enumerate() {
                let to = c.add(row * row_stride + vector * L::WIDTH);
                if is_whole(vector) {
                    L::store(to, *sum);
                } else {
                    L::store_some(mask, to, *sum);
                }
            }
        }
    }
}

/// Adds the products of one depth.
///
/// # Safety
/// `a` is read at multiples of `row_step` below `ROWS`, `b` at `VECTORS` vectors.
#[inline(always)]
unsafe fn add<L: Lanes, const ROWS: usize, const VECTORS: usize>(
    sums: &mut [[L::Vector; VECTORS]; ROWS],
    a: *const f32,
    row_step: usize,
    b: *const f32,
) {
    // SAFETY: as the caller promises.
    unsafe {
        let mut columns = [L::zero(); VECTORS];
        for (vector, columns) in columns.iter_mut().enumerate() {
            *columns = L::load(b.add(vector * L::WIDTH));
        }
        for (row, sums) in sums.iter_mut().enumerate() {
            let x = L::splat(*a.add(row * row_step));
            for (sum, columns) in sums.iter_mut().zip(columns) {
                *sum = L::mul_add(x, columns, *sum);
            }
        }
    }
}

/// From this depth on a tile takes long enough for the product's lines to come from memory, and much longer
/// than asking for them does.
const PREFETCH_DEPTH: usize = 128;
