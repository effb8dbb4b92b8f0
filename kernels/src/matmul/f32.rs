//! Products in f32: by AVX-512, by AVX2 with FMA, or by plain loops, as the CPU has it.
//!
//! The order of additions depends on the shape and on which of them runs, never on time or on where data lie: one CPU
//! gives the same bits each time, two kinds of CPU may differ in the last ones.

mod blocks;
mod lanes;
mod pack;
mod tile;

use std::cell::RefCell;

use self::lanes::{Avx2, Avx512, Lanes};
use self::pack::Room;
use super::{Addend, Matrix, MatrixMut, portable};

thread_local! {
    /// Packed factors. Kept, so that a step allocates nothing.
    static ROOM: RefCell<(Room, Room)> = const { RefCell::new((Room::new(), Room::new())) };
}

/// As [`matmul`](super::matmul), of shapes that fit.
pub(crate) fn matmul_f32(
    c: MatrixMut<'_, f32>,
    addend: Addend<'_, f32>,
    scale: f32,
    a: Matrix<'_, f32>,
    b: Matrix<'_, f32>,
) {
    if Avx512::is_available() {
        multiply::<Avx512>(c, addend, scale, a, b);
    } else if Avx2::is_available() {
        multiply::<Avx2>(c, addend, scale, a, b);
    } else {
        portable::multiply(c, addend, scale, a, b);
    }
}

fn multiply<L: Lanes>(
    c: MatrixMut<'_, f32>,
    addend: Addend<'_, f32>,
    scale: f32,
    a: Matrix<'_, f32>,
    b: Matrix<'_, f32>,
) {
    ROOM.with_borrow_mut(|(room_a, room_b)| {
        blocks::multiply::<L>(c, addend, scale, a, b, (room_a, room_b));
    });
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::matmul::Mode;

    type Multiply = fn(MatrixMut<'_, f32>, Addend<'_, f32>, f32, Matrix<'_, f32>, Matrix<'_, f32>);

    /// All that this CPU has.
    fn paths() -> Vec<(&'static str, Multiply)> {
        let mut paths: Vec<(&str, Multiply)> = vec![("portable", portable::multiply)];
        if Avx2::is_available() {
            paths.push(("AVX2", multiply::<Avx2>));
        }
        if Avx512::is_available() {
            paths.push(("AVX-512", multiply::<Avx512>));
        }
        paths
    }

    fn values(seed: u64, count: usize) -> Vec<f32> {
        let mut draws = hcrun_protocol::Prng::new(seed);
        (0..count).map(|_| f32::from(draws.next_u64().to_le_bytes()[0]) / 100.0 - 1.3).collect()
    }

    #[derive(Debug, Clone, Copy)]
    struct Product {
        shape: (usize, usize, usize),
        /// Elements of a line beyond its matrix's.
        gaps: (usize, usize, usize),
        transposed: (bool, bool),
        addend: Added,
        scale: f32,
        seed: u64,
    }

    #[derive(Debug, Clone, Copy)]
    enum Added {
        Zero,
        Product,
        Row,
    }

    const ADDED: [Added; 3] = [Added::Zero, Added::Product, Added::Row];

    fn lies(data: &[f32], rows: usize, columns: usize, gap: usize, transposed: bool) -> Matrix<'_, f32> {
        match transposed {
            false => Matrix::strided(data, rows, columns, columns + gap),
            true => Matrix::strided(data, columns, rows, rows + gap).transposed(),
        }
    }

    /// Holds every path against three plain loops in f64.
    fn check(product: Product) {
        let (m, n, k) = product.shape;
        let (gap_a, gap_b, gap_c) = product.gaps;
        let a_data = values(product.seed, (m + gap_a) * (k + gap_a) + m + k);
        let b_data = values(product.seed + 1, (k + gap_b) * (n + gap_b) + k + n);
        let a = lies(&a_data, m, k, gap_a, product.transposed.0);
        let b = lies(&b_data, k, n, gap_b, product.transposed.1);
        let (start, row) = (values(product.seed + 2, m * (n + gap_c)), values(product.seed + 3, n));
        for (name, multiply) in paths() {
            let addend = match product.addend {
                Added::Zero => Addend::Zero,
                Added::Product => Addend::Product,
                Added::Row => Addend::Row(&row),
            };
            let mut c = start.clone();
            multiply(MatrixMut::strided(&mut c, m, n, n + gap_c), addend, product.scale, a, b);
            for (index, (got, start)) in c.iter().zip(&start).enumerate() {
                let (i, j) = (index / (n + gap_c), index % (n + gap_c));
                if j >= n {
                    assert_eq!(got, start, "{name} wrote beside {product:?} at {i}, {j}");
                    continue;
                }
                let terms = (0..k).map(|k| f64::from(a.at(i, k)) * f64::from(b.at(k, j)));
                let added = f64::from(addend.at(j, *start));
                let expected = added + f64::from(product.scale) * terms.sum::<f64>();
                // Terms are below 1.7; their sum wanders by a root and is rounded at each step.
                let bound = 3e-7 * (k as f64 + 4.0) * f64::from(product.scale.abs().max(1.0));
                let got = f64::from(*got);
                assert!(
                    (got - expected).abs() <= bound,
                    "{name}, {product:?} at {i}, {j}: {got}, expected {expected}"
                );
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]
        #[test]
        fn products_are_those_of_plain_loops(
            shape in (0_usize..80, 0_usize..80, 0_usize..80),
            gaps in (0_usize..5, 0_usize..5, 0_usize..5),
            transposed: (bool, bool),
            addend in proptest::sample::select(&ADDED[..]),
            scale in proptest::sample::select(&[1.0_f32, 0.125, -2.5][..]),
            seed in 0_u64..1_000,
        ) {
            check(Product { shape, gaps, transposed, addend, scale, seed });
        }
    }

    /// Several blocks of depth, of columns and of rows; rows that collide; less columns than vectors have;
    /// factors that are read where they lie and such that are packed.
    #[test]
    fn products_of_several_blocks_are_those_of_plain_loops() {
        let shapes: [(usize, usize, usize); 9] = [
            (9, 300, 1_030),
            (3, 2_100, 65),
            (135, 70, 600),
            (64, 128, 64),
            (129, 96, 33),
            (300, 2, 32),
            (700, 3, 1_100),
            (20, 100, 1_024),
            (1, 1, 513),
        ];
        for (shape, (a, b)) in shapes
            .into_iter()
            .flat_map(|shape| [false, true].map(move |a| (shape, a)))
            .flat_map(|(shape, a)| [false, true].map(|b| (shape, (a, b))))
        {
            for addend in ADDED {
                check(Product { shape, gaps: (0, 0, 3), transposed: (a, b), addend, scale: 0.5, seed: 7 });
            }
        }
    }

    #[test]
    fn values_that_are_not_finite_stay_in_their_rows_and_columns() {
        for (name, multiply) in paths() {
            let (mut a, mut b) = (vec![1.0; 20 * 40], vec![1.0; 40 * 70]);
            (a[40 + 3], a[2 * 40 + 39], b[5 * 70 + 69]) = (f32::NAN, f32::INFINITY, f32::NEG_INFINITY);
            let mut c = vec![0.0; 20 * 70];
            let c_matrix = MatrixMut::new(&mut c, 20, 70);
            multiply(c_matrix, Addend::Zero, 1.0, Matrix::new(&a, 20, 40), Matrix::new(&b, 40, 70));
            for (i, row) in c.chunks(70).enumerate() {
                for (j, x) in row.iter().enumerate() {
                    let right = match (i, j) {
                        (1, _) | (2, 69) => x.is_nan(),
                        (2, _) => *x == f32::INFINITY,
                        (_, 69) => *x == f32::NEG_INFINITY,
                        _ => *x == 40.0,
                    };
                    assert!(right, "{name} at {i}, {j}: {x}");
                }
            }
        }
    }

    #[test]
    fn an_old_nan_is_overwritten_but_not_forgotten_by_an_addition() {
        for (name, multiply) in paths() {
            for (addend, stays) in [(Mode::Store, false), (Mode::Add, true)] {
                let mut c = vec![f32::NAN; 3 * 40];
                let (a, b) = (vec![1.0; 3 * 2], vec![1.0; 2 * 40]);
                let c_matrix = MatrixMut::new(&mut c, 3, 40);
                multiply(c_matrix, addend.into(), 1.0, Matrix::new(&a, 3, 2), Matrix::new(&b, 2, 40));
                assert!(c.iter().all(|x| x.is_nan() == stays), "{name} {addend:?}");
            }
        }
    }

    #[test]
    fn bits_are_the_same_wherever_the_data_lie() {
        let (a, b) = (values(1, 40 * 90 + 16), values(2, 90 * 50 + 16));
        for (name, multiply) in paths() {
            let bits = |shift: usize| -> Vec<u32> {
                let (mut moved_a, mut moved_b) = (vec![0.0; shift], vec![0.0; shift]);
                moved_a.extend_from_slice(&a);
                moved_b.extend_from_slice(&b);
                let mut c = vec![0.0; 40 * 50];
                multiply(
                    MatrixMut::new(&mut c, 40, 50),
                    Addend::Zero,
                    0.3,
                    Matrix::new(&moved_a[shift..], 40, 90),
                    Matrix::new(&moved_b[shift..], 90, 50),
                );
                c.iter().map(|x| x.to_bits()).collect()
            };
            assert!((1..16).all(|shift| bits(shift) == bits(0)), "{name}");
        }
    }
}
