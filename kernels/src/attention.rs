//! Causal attention over several heads, in tiles of query rows.
//!
//! Scores are formed for 64 query rows at a time against the keys up to the tile's end, so that the
//! masked half is mostly skipped and memory grows with the length, not its square. The way back recomputes
//! them from each row's logsumexp. Source: Dao, "FlashAttention-2", 2023.

use crate::Real;
use crate::cross_entropy::maximum;
use crate::elementwise::lane_sum;
use crate::matmul::{Matrix, MatrixMut, Mode, matmul};
use crate::simd::kernel;

/// Query rows of a tile; a tile of scores stays in the second-level cache.
const TILE: usize = 64;

/// Shapes of one attention: `qkv [sequences, length, 3, heads, head_width]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    pub sequences: usize,
    pub length: usize,
    pub heads: usize,
    pub head_width: usize,
}

impl Shape {
    fn width(self) -> usize {
        self.heads * self.head_width
    }

    /// Every pair of sequence and head.
    fn pairs(self) -> impl Iterator<Item = (usize, usize)> {
        (0..self.sequences).flat_map(move |sequence| (0..self.heads).map(move |head| (sequence, head)))
    }

    /// Query rows in tiles.
    fn tiles(self) -> impl DoubleEndedIterator<Item = (usize, usize)> {
        (0..self.length).step_by(TILE).map(move |start| (start, (start + TILE).min(self.length)))
    }

    /// Where the query, key and value columns of one sequence and head begin in `qkv`.
    fn offsets(self, sequence: usize, head: usize) -> [usize; 3] {
        let width = self.width();
        let start = sequence * self.length * 3 * width + head * self.head_width;
        [start, start + width, start + 2 * width]
    }
}

/// Elements of scratch that [`attention`] and [`attention_backward`] need.
pub fn scratch_elems(length: usize) -> usize {
    2 * TILE * length
}

/// `out [sequences, length, heads, head_width]` and, for the way back, `lse [sequences, heads, length]`.
pub fn attention<T: Real>(shape: Shape, qkv: &[T], out: &mut [T], lse: &mut [T], scratch: &mut [T]) {
    let Shape { length, heads, head_width, .. } = shape;
    let (width, stride) = (shape.width(), 3 * shape.width());
    for (sequence, head) in shape.pairs() {
        let [query, key, value] = shape.offsets(sequence, head);
        for (start, end) in shape.tiles() {
            let scores = &mut scratch[..(end - start) * end];
            tile_scores(shape, &qkv[query..], &qkv[key..], start, end, scores);
            let lse = &mut lse[(sequence * heads + head) * length..][start..end];
            softmax_rows(start, end, scores, lse);
            let out = &mut out[(sequence * length + start) * width + head * head_width..];
            matmul(
                MatrixMut::strided(out, end - start, head_width, width),
                Mode::Store,
                T::ONE,
                Matrix::new(scores, end - start, end),
                Matrix::strided(&qkv[value..], end, head_width, stride),
            );
        }
    }
}

/// Gradient of [`attention`], stored in `dqkv`, which has the shape of `qkv`.
pub fn attention_backward<T: Real>(
    shape: Shape,
    qkv: &[T],
    out: &[T],
    lse: &[T],
    dout: &[T],
    dqkv: &mut [T],
    scratch: &mut [T],
) {
    let Shape { length, heads, head_width, .. } = shape;
    let (width, stride) = (shape.width(), 3 * shape.width());
    let scale = score_scale::<T>(shape);
    for (sequence, head) in shape.pairs() {
        let [query, key, value] = shape.offsets(sequence, head);
        // From the last tile, which sees every key: it stores the gradients of keys and values, the tiles
        // before it add to theirs.
        for (start, end) in shape.tiles().rev() {
            let rows = end - start;
            let mode = if end == length { Mode::Store } else { Mode::Add };
            let (probabilities, rest) = scratch.split_at_mut(rows * end);
            let dscores = &mut rest[..rows * end];
            let at_out = (sequence * length + start) * width + head * head_width;
            let tile_dout = Matrix::strided(&dout[at_out..], rows, head_width, width);
            let lse = &lse[(sequence * heads + head) * length..][start..end];

            tile_scores(shape, &qkv[query..], &qkv[key..], start, end, probabilities);
            let values = Matrix::strided(&qkv[value..], end, head_width, stride);
            matmul(MatrixMut::new(dscores, rows, end), Mode::Store, T::ONE, tile_dout, values.transposed());
            softmax_rows_backward(
                start,
                end,
                head_width,
                width,
                lse,
                &out[at_out..],
                &dout[at_out..],
                probabilities,
                dscores,
            );

            let probabilities = Matrix::new(&*probabilities, rows, end);
            let dscores = Matrix::new(&*dscores, rows, end);
            let tile_queries = Matrix::strided(&qkv[query + start * stride..], rows, head_width, stride);
            let keys = Matrix::strided(&qkv[key..], end, head_width, stride);
            let dvalues = MatrixMut::strided(&mut dqkv[value..], end, head_width, stride);
            matmul(dvalues, mode, T::ONE, probabilities.transposed(), tile_dout);
            let dkeys = MatrixMut::strided(&mut dqkv[key..], end, head_width, stride);
            matmul(dkeys, mode, scale, dscores.transposed(), tile_queries);
            let dqueries = MatrixMut::strided(&mut dqkv[query + start * stride..], rows, head_width, stride);
            matmul(dqueries, Mode::Store, scale, dscores, keys);
        }
    }
}

fn score_scale<T: Real>(shape: Shape) -> T {
    T::from_f64(1.0 / (shape.head_width as f64).sqrt())
}

/// `scores [end - start, end]`: scaled products of the tile's queries with all keys before its end.
fn tile_scores<T: Real>(shape: Shape, queries: &[T], keys: &[T], start: usize, end: usize, scores: &mut [T]) {
    let stride = 3 * shape.width();
    matmul(
        MatrixMut::new(scores, end - start, end),
        Mode::Store,
        score_scale(shape),
        Matrix::strided(&queries[start * stride..], end - start, shape.head_width, stride),
        Matrix::strided(keys, end, shape.head_width, stride).transposed(),
    );
}

kernel! {
    /// Softmax of each row over the keys it may see; the others become zero.
    fn softmax_rows<'a, T>(start: usize, end: usize, scores: &'a mut [T], lse: &'a mut [T]) {
        for (row, (scores, lse)) in scores.chunks_exact_mut(end).zip(lse).enumerate() {
            let (seen, masked) = scores.split_at_mut(start + row + 1);
            masked.fill(T::ZERO);
            let highest = maximum(seen);
            for score in seen.iter_mut() {
                *score = (*score - highest).exp();
            }
            let sum = lane_sum(seen.len(), |i| seen[i]);
            let scale = T::ONE / sum;
            for score in seen.iter_mut() {
                *score *= scale;
            }
            *lse = highest + T::from_f64(libm::log(sum.to_f64()));
        }
    }

    /// Turns scores into probabilities and gradients of probabilities into those of scores.
    #[expect(clippy::too_many_arguments, reason = "a tile's shape, three inputs, two in place")]
    fn softmax_rows_backward<'a, T>(
        start: usize,
        end: usize,
        head_width: usize,
        width: usize,
        lse: &'a [T],
        out: &'a [T],
        dout: &'a [T],
        scores: &'a mut [T],
        dscores: &'a mut [T],
    ) {
        let rows = scores.chunks_exact_mut(end).zip(dscores.chunks_exact_mut(end)).zip(lse).enumerate();
        for (row, ((scores, dscores), lse)) in rows {
            let out = &out[row * width..][..head_width];
            let dout = &dout[row * width..][..head_width];
            let dot = lane_sum(head_width, |i| out[i] * dout[i]);
            let (seen, masked) = scores.split_at_mut(start + row + 1);
            let (dseen, dmasked) = dscores.split_at_mut(start + row + 1);
            masked.fill(T::ZERO);
            dmasked.fill(T::ZERO);
            for (score, dscore) in seen.iter_mut().zip(dseen) {
                *score = (*score - *lse).exp();
                *dscore = *score * (*dscore - dot);
            }
        }
    }
}
