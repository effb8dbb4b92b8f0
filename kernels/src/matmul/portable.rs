//! Products by plain loops, for f64 and for CPUs without wide vectors.

use super::{Addend, Layout, Matrix, MatrixMut};
use crate::Real;
use crate::elementwise::lane_sum;
use crate::simd::kernel;

/// As [`matmul`](super::matmul), of shapes that fit.
pub(crate) fn multiply<T: Real>(
    c: MatrixMut<'_, T>,
    addend: Addend<'_, T>,
    scale: T,
    a: Matrix<'_, T>,
    b: Matrix<'_, T>,
) {
    let Layout { rows, columns, row_stride, .. } = c.layout;
    for (row, c) in c.data.chunks_mut(row_stride.max(1)).take(rows).enumerate() {
        let c = &mut c[..columns];
        addend.put(c);
        let a = Line { data: a.data, start: row * a.layout.row_stride, step: a.layout.column_stride };
        let depth = b.layout.rows;
        if b.layout.column_stride == 1 {
            add_rows(a, b.data, b.layout.row_stride, depth, scale, c);
        } else {
            add_columns(a, b.data, b.layout.column_stride, depth, scale, c);
        }
    }
}

/// A row of the left factor.
struct Line<'a, T> {
    data: &'a [T],
    start: usize,
    step: usize,
}

impl<T: Copy> Line<'_, T> {
    #[inline(always)]
    fn at(&self, depth: usize) -> T {
        self.data[self.start + depth * self.step]
    }
}

kernel! {
    /// Adds the rows of the right factor, each times an element of the left one.
    fn add_rows<'a, T>(a: Line<'a, T>, b: &'a [T], stride: usize, depth: usize, scale: T, c: &'a mut [T]) {
        for depth in 0..depth {
            let factor = scale * a.at(depth);
            for (c, b) in c.iter_mut().zip(&b[depth * stride..]) {
                *c += factor * *b;
            }
        }
    }

    /// Adds the products with the columns of the right factor, whose elements follow each other.
    fn add_columns<'a, T>(a: Line<'a, T>, b: &'a [T], stride: usize, depth: usize, scale: T, c: &'a mut [T]) {
        for (column, c) in c.iter_mut().enumerate() {
            let b = &b[column * stride..][..depth];
            *c += scale * lane_sum(depth, |i| a.at(i) * b[i]);
        }
    }
}
