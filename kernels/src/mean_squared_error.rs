//! Squared error, averaged over a row's outputs.

use crate::simd::kernel;

kernel! {
    /// Sum over rows of the mean over outputs of `(prediction - target)²`, in f64.
    ///
    /// `predictions` and `targets` are `[rows, outputs]`.
    pub fn squared_error<'a, T>(predictions: &'a [T], outputs: usize, targets: &'a [f32]) -> f64 {
        let pairs = predictions.iter().zip(targets);
        let sum: f64 = pairs
            .map(|(prediction, target)| {
                let difference = prediction.to_f64() - f64::from(*target);
                difference * difference
            })
            .sum();
        sum / outputs as f64
    }

    /// Gradient of [`squared_error`], stored.
    pub fn squared_error_backward<'a, T>(
        predictions: &'a [T],
        outputs: usize,
        targets: &'a [f32],
        dpredictions: &'a mut [T],
    ) {
        let scale = T::from_f64(2.0 / outputs as f64);
        let (predictions, targets) = (&predictions[..dpredictions.len()], &targets[..dpredictions.len()]);
        for i in 0..dpredictions.len() {
            dpredictions[i] = scale * (predictions[i] - T::from_f32(targets[i]));
        }
    }
}
