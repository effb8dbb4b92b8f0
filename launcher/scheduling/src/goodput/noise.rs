//! What a step with a larger batch is worth, by the noise of gradients, as training goes on.

/// Gradient statistics during one epoch at one batch: the squared norm of the gradient and the variance of gradients of
/// the smallest batch. Their ratio times the smallest batch is the gradient noise scale.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Epoch {
    pub square: f64,
    pub variance: f64,
    /// At its end, in iterations at the smallest batch.
    pub progress: f64,
}

/// Statistics by batch, then by epoch.
#[derive(Debug, Clone, Default)]
pub struct NoiseScale {
    /// Batches rise; all have the same number of epochs.
    batches: Vec<(u32, Vec<Epoch>)>,
    ends: Vec<f64>,
}

impl NoiseScale {
    /// From runs at several batches. Epochs that not all of them have are left out; one ends when its first run ended
    /// it.
    pub fn new(mut runs: Vec<(u32, Vec<Epoch>)>) -> NoiseScale {
        runs.sort_by_key(|(batch, _)| *batch);
        let epochs = runs.iter().map(|(_, epochs)| epochs.len()).min().unwrap_or(0);
        let end =
            |epoch: usize| runs.iter().map(|(_, run)| run[epoch].progress).fold(f64::INFINITY, f64::min);
        let ends = (0..epochs).map(end).collect();
        NoiseScale { batches: runs, ends }
    }

    /// Progress at the end of each epoch; the last is the end of training.
    pub fn ends(&self) -> &[f64] {
        &self.ends
    }

    pub fn smallest_batch(&self) -> u32 {
        self.batches.first().map_or(1, |(batch, _)| *batch)
    }

    pub fn largest_batch(&self) -> u32 {
        self.batches.last().map_or(1, |(batch, _)| *batch)
    }

    /// Iterations at the smallest batch that one at `batch` is worth; from 1 to the ratio of the two. Statistics lie
    /// between those of the neighbouring batches.
    pub fn gain(&self, batch: u32, epoch: usize) -> f64 {
        let next = self.batches.partition_point(|(known, _)| *known < batch).min(self.batches.len() - 1);
        let before = if self.batches[next].0 == batch { next } else { next.saturating_sub(1) };
        let [(low, from), (high, to)] = [before, next].map(|index| {
            let (batch, epochs) = &self.batches[index];
            (f64::from(*batch), epochs[epoch])
        });
        let share = if high > low { ((f64::from(batch) - low) / (high - low)).clamp(0.0, 1.0) } else { 0.0 };
        let square = from.square + (to.square - from.square) * share;
        let variance = from.variance + (to.variance - from.variance) * share;
        let scale = f64::from(batch) / f64::from(self.smallest_batch());
        let denominator = variance / scale + square;
        if denominator > 0.0 { (variance + square) / denominator } else { 1.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_makes_large_batches_worth_more() {
        let run = |noise: f64| vec![Epoch { square: 1.0, variance: noise, progress: 10.0 }; 2];
        let gain = |noise, batch| NoiseScale::new(vec![(8, run(noise)), (64, run(noise))]).gain(batch, 1);
        assert_eq!(gain(5.0, 8), 1.0);
        assert_eq!(gain(0.0, 64), 1.0, "without noise more samples say nothing new");
        assert!((gain(1e12, 64) - 8.0).abs() < 1e-6, "with much noise each sample counts");
        assert!(gain(5.0, 16) > 1.0 && gain(5.0, 16) < gain(5.0, 32) && gain(5.0, 32) < 4.0);
    }

    #[test]
    fn an_epoch_ends_with_its_first_run() {
        let run = |ends: &[f64]| {
            ends.iter().map(|end| Epoch { square: 1.0, variance: 1.0, progress: *end }).collect::<Vec<_>>()
        };
        let noise = NoiseScale::new(vec![(16, run(&[11.0, 19.0, 30.0])), (8, run(&[10.0, 20.0]))]);
        assert_eq!(noise.ends(), [10.0, 19.0]);
        assert_eq!((noise.smallest_batch(), noise.largest_batch()), (8, 16));
    }
}
