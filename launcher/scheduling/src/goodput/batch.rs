//! Which batch, and how it is split over replicas and micro-batches.

/// What a job may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchLimits {
    /// The smallest batch, at which progress is counted.
    pub initial: u32,
    pub max: u32,
    /// Samples per replica and micro-batch.
    pub local_min: u32,
    pub local_max: u32,
}

/// A batch on some replicas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Split {
    /// Samples of one replica in one micro-batch.
    pub local: u32,
    /// Micro-batches that are added up before the last one of a step.
    pub accumulated: u32,
}

impl Split {
    pub fn batch(self, replicas: u32) -> u32 {
        replicas * self.local * (self.accumulated + 1)
    }
}

impl BatchLimits {
    /// Splits `batch` evenly; what does not divide is rounded up unless that would pass the largest batch. A single
    /// replica with more than the initial batch uses at least two micro-batches: the noise of gradients cannot be
    /// estimated from one.
    pub fn split(&self, batch: u32, replicas: u32) -> Split {
        let of_replica = batch.div_ceil(replicas);
        let mut accumulated = of_replica.div_ceil(self.local_max) - 1;
        if replicas == 1 && batch > self.initial {
            accumulated = accumulated.max(1);
        }
        let micro_batches = accumulated + 1;
        let local = of_replica.div_ceil(micro_batches).min(self.max / (replicas * micro_batches)).max(1);
        Split { local, accumulated }
    }

    /// The splits worth trying on `replicas`: total batches in equal ratios, smallest first.
    pub fn candidates(&self, replicas: u32) -> Vec<Split> {
        let least = self.initial.max(self.local_min.saturating_mul(replicas));
        if least > self.max || replicas == 0 {
            return Vec::new();
        }
        let ratio = f64::from(self.max) / f64::from(least);
        let batch =
            |step: u32| f64::from(least) * libm::pow(ratio, f64::from(step) / f64::from(CANDIDATES - 1));
        let splits =
            (0..CANDIDATES).map(|step| self.split(whole(batch(step)).clamp(least, self.max), replicas));
        let mut splits: Vec<Split> = splits.filter(|split| split.local >= self.local_min).collect();
        splits.dedup();
        splits
    }
}

fn whole(number: f64) -> u32 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates, and is clamped")]
    let whole = (number - 1e-6).ceil() as u32;
    whole
}

/// As many as Pollux tries.
const CANDIDATES: u32 = 50;

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: BatchLimits = BatchLimits { initial: 8, max: 512, local_min: 4, local_max: 16 };

    #[test]
    fn a_batch_is_split_evenly() {
        assert_eq!(LIMITS.split(64, 4), Split { local: 16, accumulated: 0 });
        assert_eq!(LIMITS.split(68, 4), Split { local: 9, accumulated: 1 });
        assert_eq!(LIMITS.split(8, 1), Split { local: 8, accumulated: 0 });
        assert_eq!(LIMITS.split(16, 1), Split { local: 8, accumulated: 1 });
    }

    #[test]
    fn candidates_stay_within_the_limits() {
        for replicas in [1, 3, 7, 64, 128] {
            let candidates = LIMITS.candidates(replicas);
            assert!(!candidates.is_empty());
            for split in candidates {
                let batch = split.batch(replicas);
                assert!(
                    (8..=512).contains(&batch) && (4..=16).contains(&split.local),
                    "{replicas} {split:?}"
                );
            }
        }
        assert!(LIMITS.candidates(129).is_empty());
    }
}
