//! Matrix products, single-threaded: a worker is one process with one device. In f32 by the `gemm` crate.

mod bf16;

use hcrun_protocol::job::Matmul;

use crate::Real;

pub(crate) use self::bf16::matmul_bf16;

/// A matrix inside a slice: element `(row, column)` lies at `row * row_stride + column * column_stride`.
#[derive(Debug, Clone, Copy)]
pub struct Matrix<'a, T> {
    data: &'a [T],
    layout: Layout,
}

#[derive(Debug)]
pub struct MatrixMut<'a, T> {
    data: &'a mut [T],
    layout: Layout,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Layout {
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl Layout {
    /// Elements from the first to one past the last.
    fn span(self) -> usize {
        if self.rows == 0 || self.columns == 0 {
            return 0;
        }
        (self.rows - 1) * self.row_stride + (self.columns - 1) * self.column_stride + 1
    }
}

impl<'a, T> Matrix<'a, T> {
    /// Row-major, rows next to each other.
    ///
    /// # Panics
    /// If the slice is shorter than the matrix; so do all constructors here.
    pub fn new(data: &'a [T], rows: usize, columns: usize) -> Matrix<'a, T> {
        Matrix::strided(data, rows, columns, columns)
    }

    /// Row-major, each row `row_stride` elements after the one before.
    pub fn strided(data: &'a [T], rows: usize, columns: usize, row_stride: usize) -> Matrix<'a, T> {
        let layout = Layout { rows, columns, row_stride, column_stride: 1 };
        assert!(layout.span() <= data.len(), "{layout:?} in a slice of {}", data.len());
        Matrix { data, layout }
    }

    #[cfg(test)]
    fn at(&self, row: usize, column: usize) -> T
    where
        T: Copy,
    {
        self.data[row * self.layout.row_stride + column * self.layout.column_stride]
    }

    pub fn transposed(self) -> Matrix<'a, T> {
        let Layout { rows, columns, row_stride, column_stride } = self.layout;
        let layout =
            Layout { rows: columns, columns: rows, row_stride: column_stride, column_stride: row_stride };
        Matrix { data: self.data, layout }
    }
}

impl<'a, T> MatrixMut<'a, T> {
    pub fn new(data: &'a mut [T], rows: usize, columns: usize) -> MatrixMut<'a, T> {
        MatrixMut::strided(data, rows, columns, columns)
    }

    pub fn strided(data: &'a mut [T], rows: usize, columns: usize, row_stride: usize) -> MatrixMut<'a, T> {
        let layout = Layout { rows, columns, row_stride, column_stride: 1 };
        assert!(layout.span() <= data.len(), "{layout:?} in a slice of {}", data.len());
        // Rows that overlap would be written twice.
        assert!(rows <= 1 || row_stride >= columns, "{layout:?} overlaps itself");
        MatrixMut { data, layout }
    }
}

/// Whether a result replaces what is there or is added to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Store,
    Add,
}

/// As [`matmul`], with factors rounded to `precision` if `T` is f32.
///
/// # Panics
/// If the shapes do not fit.
pub fn matmul_in<T: Real>(
    precision: Matmul,
    c: MatrixMut<'_, T>,
    mode: Mode,
    scale: T,
    a: Matrix<'_, T>,
    b: Matrix<'_, T>,
) {
    match precision {
        Matmul::F32 => matmul(c, mode, scale, a, b),
        Matmul::Bf16 => {
            check_shapes(&c, &a, &b);
            T::matmul_bf16(c, mode, scale, a, b);
        }
    }
}

fn check_shapes<T>(c: &MatrixMut<'_, T>, a: &Matrix<'_, T>, b: &Matrix<'_, T>) {
    let (m, n, k) = (c.layout.rows, c.layout.columns, a.layout.columns);
    assert!(a.layout.rows == m && b.layout.columns == n && b.layout.rows == k, "shapes of a product differ");
}

/// `c = scale · a · b`, or `c += scale · a · b`.
///
/// # Panics
/// If the shapes do not fit.
#[expect(unsafe_code, reason = "gemm takes raw pointers")]
pub fn matmul<T: Real>(c: MatrixMut<'_, T>, mode: Mode, scale: T, a: Matrix<'_, T>, b: Matrix<'_, T>) {
    let (m, n, k) = (c.layout.rows, c.layout.columns, a.layout.columns);
    check_shapes(&c, &a, &b);
    let stride = |elems: usize| isize::try_from(elems).expect("strides are within a slice");
    // SAFETY: `T` is f32 or f64 (`Real` is implemented for those alone), which gemm supports. Each
    // pointer covers `span()` elements of a live slice, checked when the matrix was made, and gemm touches
    // only elements `(row, column)` within the stated shape. `c` is borrowed mutably, so that it overlaps
    // neither `a` nor `b`, and its rows do not overlap each other, checked when it was made.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            c.data.as_mut_ptr(),
            stride(c.layout.column_stride),
            stride(c.layout.row_stride),
            mode == Mode::Add,
            a.data.as_ptr(),
            stride(a.layout.column_stride),
            stride(a.layout.row_stride),
            b.data.as_ptr(),
            stride(b.layout.column_stride),
            stride(b.layout.row_stride),
            T::ONE,
            scale,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_match_three_plain_loops() {
        let data: Vec<f64> = (0..400).map(|i| f64::from(i * 37 % 101) / 50.0 - 1.0).collect();
        for (m, n, k) in [(1, 1, 1), (3, 5, 7), (17, 9, 4), (8, 16, 3), (2, 3, 0)] {
            let rows = Matrix::strided(&data, m, k, 20);
            let b_t = Matrix::strided(&data[3..], n, k, 19).transposed();
            for mode in [Mode::Store, Mode::Add] {
                let mut c = vec![0.5; 20 * m];
                matmul(MatrixMut::strided(&mut c, m, n, 20), mode, 2.0, rows, b_t);
                for row in 0..m {
                    for column in 0..20 {
                        let sum: f64 = match column < n {
                            true => (0..k).map(|i| 2.0 * rows.at(row, i) * b_t.at(i, column)).sum(),
                            false => 0.0,
                        };
                        let start = if mode == Mode::Add || column >= n { 0.5 } else { 0.0 };
                        assert!((c[row * 20 + column] - start - sum).abs() < 1e-12);
                    }
                }
            }
        }
    }
}
