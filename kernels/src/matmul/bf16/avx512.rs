//! The product by `vdpbf16ps`: packed panels, tiles of 8 rows by 32 columns held in registers.
//!
//! A panel of the right factor (16 KiB) stays in the first cache while all panels of the left one pass by;
//! both factors' blocks stay in the second. Sixteen sums in flight hide the instruction's latency.
//! Source: Goto and van de Geijn, "Anatomy of high-performance matrix multiplication", 2008.

#![expect(unsafe_code, reason = "the tile is intrinsics")]

use std::arch::x86_64::{
    __m512, __m512bh, __m512i, _mm512_add_ps, _mm512_dpbf16_ps, _mm512_loadu_ps, _mm512_loadu_si512,
    _mm512_mul_ps, _mm512_set1_epi32, _mm512_set1_ps, _mm512_setzero_ps, _mm512_storeu_ps,
};
use std::mem::transmute;

use super::pack::{Lines, pack, packed_words};
use crate::matmul::{Layout, Matrix, MatrixMut, Mode};

const TILE_ROWS: usize = 8;
const TILE_COLUMNS: usize = 32;
/// Elements of depth packed at once.
const DEPTH: usize = 256;
/// Rows packed at once: 128 KiB.
const ROWS: usize = 256;
/// Columns packed at once: 512 KiB.
const COLUMNS: usize = 1024;

pub(super) fn is_available() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512bf16")
}

/// # Panics
/// If the CPU lacks the instruction.
pub(super) fn multiply(
    c: MatrixMut<'_, f32>,
    mode: Mode,
    scale: f32,
    a: Matrix<'_, f32>,
    b: Matrix<'_, f32>,
    (room_a, room_b): (&mut Vec<u32>, &mut Vec<u32>),
) {
    assert!(is_available(), "callers ask first");
    let Layout { rows, columns, row_stride, .. } = c.layout;
    let all_depth = a.layout.columns;
    let left = Lines { data: a.data, stride: a.layout.row_stride, depth_stride: a.layout.column_stride };
    let right = Lines { data: b.data, stride: b.layout.column_stride, depth_stride: b.layout.row_stride };
    if all_depth == 0 && mode == Mode::Store {
        c.data.chunks_mut(row_stride.max(1)).take(rows).for_each(|row| row[..columns].fill(0.0));
    }
    let most = DEPTH.min(all_depth);
    grow(room_a, packed_words::<TILE_ROWS>(ROWS.min(rows), most));
    grow(room_b, packed_words::<TILE_COLUMNS>(COLUMNS.min(columns), most));

    for column in (0..columns).step_by(COLUMNS) {
        let column_end = (column + COLUMNS).min(columns);
        for depth in (0..all_depth).step_by(DEPTH) {
            let depth_end = (depth + DEPTH).min(all_depth);
            let mode = if depth == 0 { mode } else { Mode::Add };
            // SAFETY: the CPU has the features: asserted above.
            unsafe { pack::<TILE_COLUMNS>(right, column..column_end, depth..depth_end, room_b) };
            for row in (0..rows).step_by(ROWS) {
                let row_end = (row + ROWS).min(rows);
                // SAFETY: as above.
                unsafe { pack::<TILE_ROWS>(left, row..row_end, depth..depth_end, room_a) };
                let block = Block {
                    a: room_a,
                    b: room_b,
                    pairs: (depth_end - depth).div_ceil(2),
                    rows: row_end - row,
                    columns: column_end - column,
                    row_stride,
                };
                // SAFETY: as above.
                unsafe { block.multiply(&mut c.data[row * row_stride + column..], mode, scale) };
            }
        }
    }
}

fn grow(room: &mut Vec<u32>, words: usize) {
    if room.len() < words {
        room.resize(words, 0);
    }
}

/// Packed blocks of both factors, and the shape of their product.
struct Block<'a> {
    a: &'a [u32],
    b: &'a [u32],
    pairs: usize,
    rows: usize,
    columns: usize,
    /// Of the product.
    row_stride: usize,
}

type Sums = [[__m512; 2]; TILE_ROWS];

impl Block<'_> {
    #[target_feature(enable = "avx512f,avx512bf16")]
    fn multiply(&self, c: &mut [f32], mode: Mode, scale: f32) {
        let b_panels = self.b.chunks_exact(self.pairs * TILE_COLUMNS);
        for (column, b) in (0..self.columns).step_by(TILE_COLUMNS).zip(b_panels) {
            let a_panels = self.a.chunks_exact(self.pairs * TILE_ROWS);
            for (row, a) in (0..self.rows).step_by(TILE_ROWS).zip(a_panels) {
                let sums = tile(a, b);
                let c = &mut c[row * self.row_stride + column..];
                let (rows, columns) = (self.rows - row, self.columns - column);
                if rows >= TILE_ROWS && columns >= TILE_COLUMNS {
                    put(&sums, c, self.row_stride, mode, scale);
                } else {
                    let mut whole = [0.0; TILE_ROWS * TILE_COLUMNS];
                    put(&sums, &mut whole, TILE_COLUMNS, Mode::Store, scale);
                    let columns = columns.min(TILE_COLUMNS);
                    for (row, sums) in whole.chunks_exact(TILE_COLUMNS).take(rows).enumerate() {
                        for (c, sum) in c[row * self.row_stride..][..columns].iter_mut().zip(sums) {
                            *c = if mode == Mode::Add { *c + *sum } else { *sum };
                        }
                    }
                }
            }
        }
    }
}

/// The products of one panel with another.
#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
fn tile(a: &[u32], b: &[u32]) -> Sums {
    let mut sums = [[_mm512_setzero_ps(); 2]; TILE_ROWS];
    for (a, b) in a.as_chunks::<TILE_ROWS>().0.iter().zip(b.as_chunks::<TILE_COLUMNS>().0) {
        // SAFETY: `b` is two vectors; bf16 and integer vectors are 64 bytes of plain data each.
        let columns: [__m512bh; 2] = unsafe {
            [
                transmute::<__m512i, __m512bh>(_mm512_loadu_si512(b.as_ptr().cast())),
                transmute::<__m512i, __m512bh>(_mm512_loadu_si512(b.as_ptr().add(16).cast())),
            ]
        };
        for (sums, a) in sums.iter_mut().zip(a) {
            // SAFETY: 64 bytes of plain data.
            let row: __m512bh = unsafe { transmute::<__m512i, __m512bh>(_mm512_set1_epi32(a.cast_signed())) };
            sums[0] = _mm512_dpbf16_ps(sums[0], row, columns[0]);
            sums[1] = _mm512_dpbf16_ps(sums[1], row, columns[1]);
        }
    }
    sums
}

/// Stores or adds whole rows of 32.
#[inline]
#[target_feature(enable = "avx512f")]
fn put(sums: &Sums, c: &mut [f32], row_stride: usize, mode: Mode, scale: f32) {
    let scale = _mm512_set1_ps(scale);
    for (row, sums) in sums.iter().enumerate() {
        let c: &mut [f32; TILE_COLUMNS] =
            c[row * row_stride..].first_chunk_mut().expect("a tile is inside of the product");
        for (sum, c) in sums.iter().zip(c.as_chunks_mut::<16>().0) {
            let sum = _mm512_mul_ps(*sum, scale);
            // SAFETY: `c` is one vector.
            unsafe {
                let sum =
                    if mode == Mode::Add { _mm512_add_ps(_mm512_loadu_ps(c.as_ptr()), sum) } else { sum };
                _mm512_storeu_ps(c.as_mut_ptr(), sum);
            }
        }
    }
}
