//! The loops around the tiles.
//!
//! A block of the right factor stays in the second cache, in panels of a tile's columns, while the left
//! factor's rows pass by, a tile's height at a time. Elements of the left factor are read one by one, so that
//! most of it lies well enough where it is; the right one is packed unless few rows read it.
//! Source: Goto and van de Geijn, "Anatomy of high-performance matrix multiplication", 2008.

#![expect(unsafe_code, reason = "tiles need a CPU's instructions")]

use std::ops::Range;

use super::lanes::Lanes;
use super::pack::{EIGHT, Room, copy_eights, copy_rows, transpose};
use super::tile::{Factors, Target};
use crate::matmul::{Addend, Layout, Matrix, MatrixMut};

/// `c = scale · a · b + addend`.
///
/// # Panics
/// If the CPU lacks the instructions.
pub(super) fn multiply<L: Lanes>(
    c: MatrixMut<'_, f32>,
    addend: Addend<'_, f32>,
    scale: f32,
    a: Matrix<'_, f32>,
    b: Matrix<'_, f32>,
    (room_a, room_b): (&mut Room, &mut Room),
) {
    assert!(L::is_available(), "callers ask first");
    let Layout { rows, columns, row_stride, .. } = c.layout;
    let all_depth = a.layout.columns;
    if rows == 0 || columns == 0 {
        return;
    }
    if all_depth == 0 {
        let rows = c.data.chunks_mut(row_stride).take(rows);
        return rows.for_each(|row| addend.put(&mut row[..columns]));
    }
    if columns < L::WIDTH / 2 && columns < rows {
        return multiply_narrow::<L>(c, addend, scale, a, b, (room_a, room_b));
    }
    let (a, b) = (Factor::of(a), Factor::of(b));
    let most_columns = (BLOCK / part(all_depth, DEPTH, 1)).max(L::TILE_COLUMNS);
    for columns in parts(columns, most_columns / L::TILE_COLUMNS * L::TILE_COLUMNS, L::TILE_COLUMNS) {
        for depth in parts(all_depth, DEPTH, 1) {
            let addend = if depth.start == 0 { addend.past_column(columns.start) } else { Addend::Product };
            let block = Block { a, b, rows, depth, columns: columns.clone(), scale, addend };
            block.multiply::<L>(&mut c.data[columns.start..], row_stride, (room_a, room_b));
        }
    }
}

/// A product with less columns than half a vector has: as rows of its transpose, which are put in their places
/// element by element.
fn multiply_narrow<L: Lanes>(
    c: MatrixMut<'_, f32>,
    addend: Addend<'_, f32>,
    scale: f32,
    a: Matrix<'_, f32>,
    b: Matrix<'_, f32>,
    (room_a, room_b): (&mut Room, &mut Room),
) {
    let Layout { rows, columns, row_stride, .. } = c.layout;
    let mut across = [0.0; NARROW];
    for rows in parts(rows, NARROW / columns, 1) {
        let across = &mut across[..columns * rows.len()];
        let layout = Layout { rows: rows.len(), ..a.layout };
        let a = Matrix { data: &a.data[rows.start * a.layout.row_stride..], layout };
        let product = MatrixMut::new(across, columns, rows.len());
        multiply::<L>(product, Addend::Zero, scale, b.transposed(), a.transposed(), (room_a, room_b));
        for (row, c) in c.data[rows.start * row_stride..].chunks_mut(row_stride).take(rows.len()).enumerate()
        {
            for (column, c) in c[..columns].iter_mut().enumerate() {
                *c = addend.at(column, *c) + across[column * rows.len() + row];
            }
        }
    }
}

/// A factor as it lies: elements of a row follow each other and rows are `stride` apart, or so do columns.
#[derive(Clone, Copy)]
struct Factor<'a> {
    data: &'a [f32],
    stride: usize,
    by_rows: bool,
}

impl<'a> Factor<'a> {
    fn of(matrix: Matrix<'a, f32>) -> Factor<'a> {
        let Layout { row_stride, column_stride, .. } = matrix.layout;
        let by_rows = column_stride == 1;
        assert!(by_rows || row_stride == 1, "matrices are row-major or transposed");
        Factor { data: matrix.data, stride: if by_rows { row_stride } else { column_stride }, by_rows }
    }

    /// From one element on.
    fn at(self, row: usize, column: usize) -> &'a [f32] {
        let (line, place) = if self.by_rows { (row, column) } else { (column, row) };
        &self.data[line * self.stride + place..]
    }

    /// Whether lines that a tile reads at the same time share their places in the first cache, which has 4 KiB a
    /// way, and drive each other out.
    fn collides(self) -> bool {
        self.stride.is_multiple_of(1024)
    }
}

/// One block of the right factor and what it is multiplied with.
struct Block<'a> {
    a: Factor<'a>,
    b: Factor<'a>,
    rows: usize,
    depth: Range<usize>,
    columns: Range<usize>,
    scale: f32,
    addend: Addend<'a, f32>,
}

/// What a row, or a column, of tiles reads: each `step` elements after the one before.
struct Panels<'a> {
    data: &'a [f32],
    step: usize,
    stride: usize,
}

impl Block<'_> {
    fn multiply<L: Lanes>(&self, c: &mut [f32], row_stride: usize, (room_a, room_b): (&mut Room, &mut Room)) {
        let whole = self.panels_in_place::<L>();
        let in_place = Panels {
            data: self.b.at(self.depth.start, self.columns.start),
            step: L::TILE_COLUMNS,
            stride: self.b.stride,
        };
        let packed = self.pack_right::<L>(whole, room_b);
        let panels = self.columns.len().div_ceil(L::TILE_COLUMNS);
        for rows in parts(self.rows, ROWS, L::TILE_ROWS) {
            let left = self.left::<L>(&rows, panels, room_a);
            for (tile, row) in rows.clone().step_by(L::TILE_ROWS).enumerate() {
                for panel in 0..panels {
                    let start = panel * L::TILE_COLUMNS;
                    let (right, index) =
                        if panel < whole { (&in_place, panel) } else { (&packed, panel - whole) };
                    let factors = Factors {
                        a: &left.data[tile * left.step..],
                        a_stride: left.stride,
                        b: &right.data[index * right.step..],
                        b_stride: right.stride,
                        depth: self.depth.len(),
                        scale: self.scale,
                    };
                    let mut target = Target {
                        c: &mut c[row * row_stride + start..],
                        row_stride,
                        columns: (self.columns.len() - start).min(L::TILE_COLUMNS),
                        addend: self.addend.past_column(start),
                    };
                    let height = (rows.end - row).min(L::TILE_ROWS);
                    multiply_tile::<L>(height, self.a.by_rows, &factors, &mut target);
                }
            }
        }
    }

    /// How many panels of the right factor are read where they lie.
    fn panels_in_place<L: Lanes>(&self) -> usize {
        let in_place = self.b.by_rows && self.rows <= FEW_ROWS && !self.b.collides();
        if in_place { self.columns.len() / L::TILE_COLUMNS } else { 0 }
    }

    /// Packs panels of the right factor from the one with index `first` on.
    fn pack_right<'r, L: Lanes>(&self, first: usize, room: &'r mut Room) -> Panels<'r> {
        let (width, depth) = (L::TILE_COLUMNS, &self.depth);
        let columns = self.columns.start + first * width..self.columns.end;
        let step = width * depth.len();
        let room = room.of(columns.len().div_ceil(width) * step);
        for (column, out) in columns.clone().step_by(width).zip(room.chunks_exact_mut(step)) {
            let (from, count) = (self.b.at(depth.start, column), (columns.end - column).min(width));
            if self.b.by_rows {
                copy_rows(from, self.b.stride, count, width, out);
            } else {
                transpose(from, self.b.stride, count, width, out);
            }
        }
        Panels { data: room, step, stride: width }
    }

    /// Rows of the left factor, copied where they would be read often and lie badly.
    fn left<'r, L: Lanes>(&'r self, rows: &Range<usize>, panels: usize, room: &'r mut Room) -> Panels<'r> {
        let (from, stride, depth) =
            (self.a.at(rows.start, self.depth.start), self.a.stride, self.depth.len());
        let often = panels > FEW_PANELS;
        match self.a.by_rows {
            true if often && self.a.collides() => {
                // One line more than is needed, so that copies do not collide.
                let width = depth.next_multiple_of(EIGHT * 2) + EIGHT * 2;
                let room = room.of(rows.len() * width);
                copy_rows(from, stride, depth, width, room);
                Panels { data: room, step: L::TILE_ROWS * width, stride: width }
            }
            true => Panels { data: from, step: L::TILE_ROWS * stride, stride },
            false if often => {
                let room = room.of(rows.len().div_ceil(L::TILE_ROWS) * EIGHT * depth);
                copy_eights(from, stride, L::TILE_ROWS, rows.len(), depth, room);
                Panels { data: room, step: EIGHT * depth, stride: EIGHT }
            }
            false => Panels { data: from, step: L::TILE_ROWS, stride },
        }
    }
}

fn multiply_tile<L: Lanes>(rows: usize, a_by_rows: bool, factors: &Factors<'_>, target: &mut Target<'_>) {
    macro_rules! of_rows {
        ($vectors:literal, $a_by_rows:literal, $($rows:literal)+) => {
            match rows {
                // SAFETY: the CPU has the instructions: asserted in `multiply`.
                $($rows => unsafe { L::multiply_tile::<$rows, $vectors, $a_by_rows>(factors, target) },)+
                _ => unreachable!("{rows} rows in a tile"),
            }
        };
    }
    match (target.columns > L::WIDTH, a_by_rows) {
        (true, true) => of_rows!(2, true, 1 2 3 4 5 6 7 8),
        (true, false) => of_rows!(2, false, 1 2 3 4 5 6 7 8),
        (false, true) => of_rows!(1, true, 1 2 3 4 5 6 7 8),
        (false, false) => of_rows!(1, false, 1 2 3 4 5 6 7 8),
    }
}

/// Equal parts of `count`, of about `most` at most, all but the last a multiple of `align`.
fn parts(count: usize, most: usize, align: usize) -> impl Iterator<Item = Range<usize>> {
    let step = part(count, most, align);
    (0..count).step_by(step).map(move |start| start..(start + step).min(count))
}

fn part(count: usize, most: usize, align: usize) -> usize {
    count.div_ceil(count.div_ceil(most)).next_multiple_of(align)
}

/// Elements of depth in a block: each pass over the product adds as many.
const DEPTH: usize = 512;
/// Elements of a block of the right factor: 512 KiB, half of the second cache.
const BLOCK: usize = 128 << 10;
/// Rows of the left factor that are copied at a time.
const ROWS: usize = 64;
/// Up to here packing the right factor takes longer than reading it badly.
const FEW_ROWS: usize = 128;
/// The same of the left factor.
const FEW_PANELS: usize = 2;
/// Elements of a narrow product that are formed at a time.
const NARROW: usize = 1024;
