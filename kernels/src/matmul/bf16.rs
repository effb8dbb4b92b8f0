//! Products of factors rounded to bf16, with sums in f32.
//!
//! With AVX-512 BF16 by `vdpbf16ps`, twice the rate of f32; elsewhere by rounding the factors and
//! multiplying them in f32. Both round to nearest, ties to even; the instruction takes denormals as zero
//! and adds in another order, so results agree within a tolerance.

mod avx512;
mod pack;

use std::cell::RefCell;

use super::{Addend, Layout, Matrix, MatrixMut, Mode};

thread_local! {
    /// Packed factors. Kept, so that a step allocates nothing.
    static ROOM: RefCell<(Vec<u32>, Vec<u32>)> = const { RefCell::new((Vec::new(), Vec::new())) };
    static ROUNDED: RefCell<(Vec<f32>, Vec<f32>)> = const { RefCell::new((Vec::new(), Vec::new())) };
}

/// As [`matmul`](super::matmul), of shapes that fit.
pub(crate) fn matmul_bf16(
    c: MatrixMut<'_, f32>,
    addend: Addend<'_, f32>,
    scale: f32,
    a: Matrix<'_, f32>,
    b: Matrix<'_, f32>,
) {
    if avx512::is_available() {
        let mode = match addend {
            Addend::Zero => Mode::Store,
            Addend::Product => Mode::Add,
            Addend::Row(_) => {
                let Layout { rows, columns, row_stride, .. } = c.layout;
                let rows = c.data.chunks_mut(row_stride.max(1)).take(rows);
                rows.for_each(|row| addend.put(&mut row[..columns]));
                Mode::Add
            }
        };
        ROOM.with_borrow_mut(|(room_a, room_b)| avx512::multiply(c, mode, scale, a, b, (room_a, room_b)));
    } else {
        multiply_rounded(c, addend, scale, a, b);
    }
}

/// For CPUs without the instruction.
fn multiply_rounded(
    c: MatrixMut<'_, f32>,
    addend: Addend<'_, f32>,
    scale: f32,
    a: Matrix<'_, f32>,
    b: Matrix<'_, f32>,
) {
    ROUNDED.with_borrow_mut(|(room_a, room_b)| {
        super::matmul(c, addend, scale, rounded(a, room_a), rounded(b, room_b));
    });
}

/// The matrix with every element rounded, in the order in which it lies.
fn rounded<'a>(matrix: Matrix<'_, f32>, room: &'a mut Vec<f32>) -> Matrix<'a, f32> {
    let Layout { rows, columns, row_stride, column_stride } = matrix.layout;
    let by_rows = column_stride <= row_stride;
    let (lines, length, line_stride, stride) = match by_rows {
        true => (rows, columns, row_stride, column_stride),
        false => (columns, rows, column_stride, row_stride),
    };
    room.clear();
    for line in 0..lines {
        let at = |index: usize| matrix.data[line * line_stride + index * stride];
        room.extend((0..length).map(|index| half::bf16::from_f32(at(index)).to_f32()));
    }
    let matrix = Matrix::new(&*room, lines, length);
    if by_rows { matrix } else { matrix.transposed() }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Multiply = fn(MatrixMut<'_, f32>, Mode, f32, Matrix<'_, f32>, Matrix<'_, f32>);

    fn paths() -> Vec<(&'static str, Multiply)> {
        let mut paths: Vec<(&str, Multiply)> =
            vec![("portable", |c, mode, scale, a, b| multiply_rounded(c, mode.into(), scale, a, b))];
        if avx512::is_available() {
            paths.push(("AVX-512 BF16", |c, mode, scale, a, b| {
                let mut room = (Vec::new(), Vec::new());
                avx512::multiply(c, mode, scale, a, b, (&mut room.0, &mut room.1));
            }));
        }
        paths
    }

    fn values(seed: u64, count: usize) -> Vec<f32> {
        let mut draws = hcrun_protocol::Prng::new(seed);
        (0..count).map(|_| f32::from(draws.next_u64().to_le_bytes()[0]) / 100.0 - 1.3).collect()
    }

    fn rounded(x: f32) -> f64 {
        f64::from(half::bf16::from_f32(x).to_f32())
    }

    /// Shapes within one tile, over several, over several blocks of depth, and ragged in each dimension.
    const SHAPES: [(usize, usize, usize); 10] = [
        (1, 1, 1),
        (8, 32, 2),
        (7, 31, 3),
        (9, 33, 33),
        (16, 64, 64),
        (3, 70, 257),
        (20, 40, 600),
        (300, 5, 31),
        (2, 1100, 5),
        (0, 4, 4),
    ];

    #[test]
    fn products_are_those_of_rounded_factors_in_every_layout() {
        for (name, multiply) in paths() {
            for (m, n, k) in SHAPES {
                for (a_transposed, b_transposed) in
                    [(false, false), (false, true), (true, false), (true, true)]
                {
                    let (a_data, b_data) =
                        (values(1, (m + 3) * (k + 3) + m + k), values(2, (n + 3) * (k + 3) + n + k));
                    let of = |data, rows, columns, transposed| match transposed {
                        false => Matrix::strided(data, rows, columns, columns + 3),
                        true => Matrix::strided(data, columns, rows, rows + 3).transposed(),
                    };
                    let a: Matrix<'_, f32> = of(&a_data, m, k, a_transposed);
                    let b: Matrix<'_, f32> = of(&b_data, k, n, b_transposed);
                    for mode in [Mode::Store, Mode::Add] {
                        let stride = n + 1;
                        let mut c = vec![0.5; m * stride];
                        multiply(MatrixMut::strided(&mut c, m, n, stride), mode, 0.5, a, b);
                        for row in 0..m {
                            for column in 0..n {
                                let terms = (0..k).map(|i| rounded(a.at(row, i)) * rounded(b.at(i, column)));
                                let start = if mode == Mode::Add { 0.5 } else { 0.0 };
                                let expected = start + 0.5 * terms.sum::<f64>();
                                let got = f64::from(c[row * stride + column]);
                                let bound = 1e-6 * (k + 10) as f64;
                                assert!(
                                    (got - expected).abs() < bound,
                                    "{name} {m}×{n}×{k} {a_transposed} {b_transposed} {mode:?} at {row}, {column}: \
                                     {got}, expected {expected}"
                                );
                            }
                            assert_eq!(c[row * stride + n], 0.5, "{name} wrote beyond its columns");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn values_that_are_not_finite_stay_in_their_rows() {
        for (name, multiply) in paths() {
            let mut a = values(3, 9 * 40);
            (a[40], a[2 * 40 + 3]) = (f32::NAN, f32::INFINITY);
            let b = vec![1.0; 40 * 33];
            let mut c = vec![0.0; 9 * 33];
            multiply(
                MatrixMut::new(&mut c, 9, 33),
                Mode::Store,
                1.0,
                Matrix::new(&a, 9, 40),
                Matrix::new(&b, 40, 33),
            );
            let rows: Vec<bool> = c.chunks(33).map(|row| row.iter().all(|x| x.is_finite())).collect();
            let expected: Vec<bool> = (0..9).map(|row| row != 1 && row != 2).collect();
            assert_eq!(rows, expected, "{name}");
            assert!(c[33..66].iter().all(|x| x.is_nan()) && c[66..99].iter().all(|x| *x == f32::INFINITY));
        }
    }
}
