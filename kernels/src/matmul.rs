//! Matrix products, single-threaded: a worker is one process with one device.

mod bf16;
mod f32;
mod portable;

use hcrun_protocol::job::Matmul;

use crate::Real;

pub(crate) use self::bf16::matmul_bf16;
pub(crate) use self::f32::matmul_f32;
pub(crate) use self::portable::multiply as matmul_portable;

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

/// What a product is added to.
#[derive(Debug, Clone, Copy)]
pub enum Addend<'a, T> {
    Zero,
    /// What is there.
    Product,
    /// The same for each row, as long as one.
    Row(&'a [T]),
}

impl<T: Real> From<Mode> for Addend<'_, T> {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Store => Addend::Zero,
            Mode::Add => Addend::Product,
        }
    }
}

impl<'a, T: Real> Addend<'a, T> {
    /// From a column on.
    fn past_column(self, column: usize) -> Addend<'a, T> {
        match self {
            Addend::Row(row) => Addend::Row(&row[column..]),
            Addend::Zero | Addend::Product => self,
        }
    }

    /// At a column where the product has `c`.
    fn at(self, column: usize, c: T) -> T {
        match self {
            Addend::Zero => T::ZERO,
            Addend::Product => c,
            Addend::Row(row) => row[column],
        }
    }

    /// Makes a row of the product what is added to.
    fn put(self, row: &mut [T]) {
        match self {
            Addend::Zero => row.fill(T::ZERO),
            Addend::Product => {}
            Addend::Row(addend) => row.copy_from_slice(addend),
        }
    }
}

/// As [`matmul`], with factors rounded to `precision` if `T` is f32.
///
/// # Panics
/// If the shapes do not fit.
pub fn matmul_in<'a, T: Real>(
    precision: Matmul,
    c: MatrixMut<'_, T>,
    addend: impl Into<Addend<'a, T>>,
    scale: T,
    a: Matrix<'_, T>,
    b: Matrix<'_, T>,
) {
    match precision {
        Matmul::F32 => matmul(c, addend, scale, a, b),
        Matmul::Bf16 => {
            let addend = addend.into();
            check_shapes(&c, addend, &a, &b);
            T::matmul_bf16(c, addend, scale, a, b);
        }
    }
}

fn check_shapes<T>(c: &MatrixMut<'_, T>, addend: Addend<'_, T>, a: &Matrix<'_, T>, b: &Matrix<'_, T>) {
    let (m, n, k) = (c.layout.rows, c.layout.columns, a.layout.columns);
    assert!(a.layout.rows == m && b.layout.columns == n && b.layout.rows == k, "shapes of a product differ");
    if let Addend::Row(row) = addend {
        assert_eq!(row.len(), n, "a row that is added to a product's");
    }
}

/// `c = addend + scale · a · b`; a [`Mode`] is an addend.
///
/// # Panics
/// If the shapes do not fit.
pub fn matmul<'a, T: Real>(
    c: MatrixMut<'_, T>,
    addend: impl Into<Addend<'a, T>>,
    scale: T,
    a: Matrix<'_, T>,
    b: Matrix<'_, T>,
) {
    let addend = addend.into();
    check_shapes(&c, addend, &a, &b);
    T::matmul(c, addend, scale, a, b);
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
