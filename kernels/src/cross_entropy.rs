//! Softmax cross-entropy: `logsumexp - logit`, never `-log(probability)`, which loses very wrong rows.

use crate::Real;
use crate::simd::kernel;

/// Index of the first largest element. NaN is never the largest.
#[inline(always)]
fn argmax<T: Real>(row: &[T]) -> usize {
    let mut best = 0;
    for (i, x) in row.iter().enumerate() {
        if *x > row[best] {
            best = i;
        }
    }
    best
}

/// The largest element, or NaN if there is one.
#[inline(always)]
pub(crate) fn maximum<T: Real>(row: &[T]) -> T {
    let mut lanes = [row[0]; 16];
    let (chunks, rest) = row.as_chunks::<16>();
    for chunk in chunks {
        for (best, x) in lanes.iter_mut().zip(chunk) {
            *best = if *best > *x { *best } else { *x };
        }
    }
    let mut best = row[0];
    for x in lanes.iter().chain(rest) {
        best = if best > *x { best } else { *x };
    }
    best
}

/// Sum of exponentials relative to the largest element, both in one view of the row.
#[inline(always)]
fn logsumexp<T: Real>(row: &[T]) -> f64 {
    let highest = maximum(row);
    let sum = crate::elementwise::lane_sum(row.len(), |i| (row[i] - highest).exp());
    highest.to_f64() + libm::log(sum.to_f64())
}

kernel! {
    /// Sum over rows of the negative log likelihood of `classes [rows]` under `logits [rows, outputs]`.
    ///
    /// `lse [rows]` takes each row's logsumexp for the way back.
    ///
    /// # Panics
    /// If a class is not below `outputs`.
    pub fn cross_entropy<'a, T>(
        logits: &'a [T],
        outputs: usize,
        classes: &'a [u32],
        lse: &'a mut [T],
    ) -> f64 {
        let mut loss = 0.0;
        for ((row, class), lse) in logits.chunks_exact(outputs).zip(classes).zip(lse) {
            let total = logsumexp(row);
            *lse = T::from_f64(total);
            loss += total - row[*class as usize].to_f64();
        }
        loss
    }

    /// Gradient of [`cross_entropy`]: softmax minus one-hot, stored in `dlogits`.
    pub fn cross_entropy_backward<'a, T>(
        logits: &'a [T],
        outputs: usize,
        classes: &'a [u32],
        lse: &'a [T],
        dlogits: &'a mut [T],
    ) {
        let rows = logits.chunks_exact(outputs).zip(dlogits.chunks_exact_mut(outputs));
        for (((row, drow), class), lse) in rows.zip(classes).zip(lse) {
            for i in 0..outputs {
                drow[i] = (row[i] - *lse).exp();
            }
            drow[*class as usize] -= T::ONE;
        }
    }

    /// Rows whose largest logit is that of their class.
    pub fn correct<'a, T>(logits: &'a [T], outputs: usize, classes: &'a [u32]) -> u64 {
        let rows = logits.chunks_exact(outputs).zip(classes);
        rows.map(|(row, class)| u64::from(argmax(row) == *class as usize)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_very_wrong_row_has_its_true_loss() {
        let mut lse = [0.0_f32];
        let loss = cross_entropy(&[200.0_f32, 0.0, -50.0], 3, &[1], &mut lse);
        assert!((loss - 200.0).abs() < 1e-4, "{loss}");
    }

    #[test]
    fn not_a_number_is_seen() {
        let mut lse = [0.0_f32];
        for at in 0..40 {
            let mut row = [1.0_f32; 40];
            row[at] = f32::NAN;
            assert!(cross_entropy(&row, 40, &[3], &mut lse).is_nan(), "position {at}");
        }
    }
}
