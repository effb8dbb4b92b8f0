//! Which samples a global batch holds and who computes them, as a function of the step alone.
//!
//! A step takes from each residency class in proportion to its size; the samples of a class are then dealt
//! to the ranks that may hold it, so that all ranks finish at about the same time. What is in a batch does
//! not depend on the ranks at all, who computes it does: so a job resumed with other workers sees the same
//! batches. After as many samples as the job has, every sample has been used exactly once.
//!
//! A rank may get nothing; it joins every round all the same.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::ids::{Rank, Step};
use crate::order::sample_at;

/// A residency class as batches see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassSize {
    /// Training samples of all its shards.
    pub samples: u64,
    /// The ranks in zones that may hold it, in rank order.
    pub ranks: Vec<Rank>,
}

/// A run of positions in the order of one class. Positions count on over epochs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draw {
    pub class: usize,
    pub positions: Range<u64>,
}

/// One sample: the index within its class, whose samples are those of its shards one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sample {
    pub class: usize,
    pub index: u64,
}

/// Who computes what in one step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepBatch {
    /// By rank.
    pub parts: Vec<Vec<Draw>>,
}

impl StepBatch {
    pub fn samples_of(&self, rank: Rank) -> u64 {
        self.parts[rank.index()].iter().map(|draw| draw.positions.end - draw.positions.start).sum()
    }

    /// How many of these ranks hold samples of the step.
    pub fn contributors(&self, ranks: &[Rank]) -> usize {
        ranks.iter().filter(|rank| self.samples_of(**rank) > 0).count()
    }
}

#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum BatchError {
    #[error("there are no training samples")]
    NoSamples,
    #[error("the global batch is 0")]
    NoBatch,
    #[error("no rank may hold the {samples} training samples of residency class {class}")]
    Unheld { class: usize, samples: u64 },
    #[error("{rank} of residency class {class} is not among the job's {ranks} ranks")]
    UnknownRank { class: usize, rank: Rank, ranks: usize },
    #[error("the speed of {rank} is {speed}: it must be a positive number")]
    Speed { rank: Rank, speed: f64 },
    #[error("{0} training samples are more than the {MAX_SAMPLES} a job can have")]
    TooMany(u128),
}

/// Too few ranks of a zone hold samples of a step for its sum to cross a border.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("at step {step} only {contributors} of zone {zone}'s ranks hold samples")]
pub struct FewContributors {
    pub step: Step,
    /// Index of the zone among those asked about.
    pub zone: usize,
    pub contributors: usize,
}

#[derive(Debug, Clone, PartialEq)]
pub struct BatchPlan {
    seed: u64,
    batch: u32,
    classes: Vec<ClassSize>,
    /// Samples a rank computes in a unit of time, by rank; only their ratios matter.
    speeds: Vec<f64>,
}

impl BatchPlan {
    /// `speeds` has one number per rank; all 1 when nothing has been measured. It is part of what all
    /// ranks must agree on.
    pub fn new(
        seed: u64,
        batch: u32,
        classes: Vec<ClassSize>,
        speeds: Vec<f64>,
    ) -> Result<BatchPlan, BatchError> {
        if batch == 0 {
            return Err(BatchError::NoBatch);
        }
        if classes.iter().all(|class| class.samples == 0) {
            return Err(BatchError::NoSamples);
        }
        let total: u128 = classes.iter().map(|class| u128::from(class.samples)).sum();
        if total > u128::from(MAX_SAMPLES) {
            return Err(BatchError::TooMany(total));
        }
        for (index, class) in classes.iter().enumerate() {
            if class.samples > 0 && class.ranks.is_empty() {
                return Err(BatchError::Unheld { class: index, samples: class.samples });
            }
            if let Some(rank) = class.ranks.iter().find(|rank| rank.index() >= speeds.len()) {
                return Err(BatchError::UnknownRank { class: index, rank: *rank, ranks: speeds.len() });
            }
        }
        let wrong = speeds.iter().position(|speed| !(speed.is_finite() && *speed > 0.0));
        if let Some(index) = wrong {
            return Err(BatchError::Speed { rank: Rank::from_index(index), speed: speeds[index] });
        }
        Ok(BatchPlan { seed, batch, classes, speeds })
    }

    pub fn classes(&self) -> &[ClassSize] {
        &self.classes
    }

    /// The samples a step takes from each class, as positions in the class's order.
    pub fn taken(&self, step: Step) -> Vec<Range<u64>> {
        let drawn = u128::from(step.0) * u128::from(self.batch);
        let (before, after) = (self.cursors(drawn), self.cursors(drawn + u128::from(self.batch)));
        before.into_iter().zip(after).map(|(start, end)| start..end).collect()
    }

    /// The step's batch, dealt to ranks.
    pub fn compose(&self, step: Step) -> StepBatch {
        let taken = self.taken(step);
        let counts: Vec<u64> = taken.iter().map(|positions| positions.end - positions.start).collect();
        let mut parts = vec![Vec::new(); self.speeds.len()];
        for (class, (shares, positions)) in self.deal(&counts).iter().zip(&taken).enumerate() {
            let mut start = positions.start;
            for (rank, share) in self.classes[class].ranks.iter().zip(shares) {
                if *share > 0 {
                    parts[rank.index()].push(Draw { class, positions: start..start + share });
                }
                start += share;
            }
        }
        StepBatch { parts }
    }

    /// The samples of some draws, in order.
    pub fn samples<'a>(&'a self, draws: &'a [Draw]) -> impl Iterator<Item = Sample> + 'a {
        draws.iter().flat_map(move |draw| {
            let samples = self.classes[draw.class].samples;
            draw.positions.clone().map(move |position| Sample {
                class: draw.class,
                index: sample_at(self.seed, draw.class, samples, position),
            })
        })
    }

    /// How many of `ranks` hold samples of the step.
    pub fn contributors(&self, step: Step, ranks: &[Rank]) -> usize {
        self.compose(step).contributors(ranks)
    }

    /// The first of `steps` steps at which a zone has contributors, but fewer than `min`.
    ///
    /// How many samples each class gives repeats with a period of (all samples / gcd with the batch) steps
    /// and takes few different values, so a long job costs no more than its first
    /// [`MAX_CHECKED_STEPS`]; beyond them senders check each step anyway.
    pub fn few_contributors(&self, zones: &[Vec<Rank>], min: usize, steps: u64) -> Option<FewContributors> {
        let mut seen: BTreeSet<Vec<u64>> = BTreeSet::new();
        for step in (0..steps.min(self.period()).min(MAX_CHECKED_STEPS)).map(Step) {
            let counts: Vec<u64> = self.taken(step).iter().map(|range| range.end - range.start).collect();
            if !seen.insert(counts) {
                continue;
            }
            let batch = self.compose(step);
            for (zone, ranks) in zones.iter().enumerate() {
                let contributors = batch.contributors(ranks);
                if (1..min).contains(&contributors) {
                    return Some(FewContributors { step, zone, contributors });
                }
            }
        }
        None
    }

    /// Steps after which the numbers taken from the classes repeat.
    fn period(&self) -> u64 {
        let total: u64 = self.classes.iter().map(|class| class.samples).sum();
        total / gcd(total, u64::from(self.batch))
    }

    /// Samples drawn from each class when `drawn` have been drawn in all.
    ///
    /// The first class gets its share of all, rounded; the second its share of what is left, and so on.
    /// Rounding a growing number times a share of at most 1 never goes back and never grows faster than
    /// the number, so no class ever gives less than nothing: plain largest remainders of the running total
    /// can, by the Alabama paradox. After a multiple of all samples the shares are exact.
    fn cursors(&self, drawn: u128) -> Vec<u64> {
        let mut left = drawn;
        let mut rest: u128 = self.classes.iter().map(|class| u128::from(class.samples)).sum();
        let share = |class: &ClassSize| {
            let samples = u128::from(class.samples);
            let share = if rest == 0 { 0 } else { rounded_share(left, samples, rest) };
            left -= share;
            rest -= samples;
            u64::try_from(share).expect("a job draws fewer than 2^64 samples: Job::check")
        };
        self.classes.iter().map(share).collect()
    }

    /// Deals `counts[class]` samples to the ranks of each class, the most constrained class first, each
    /// sample to the rank that would be done first; equal ranks in rank order.
    fn deal(&self, counts: &[u64]) -> Vec<Vec<u64>> {
        let mut order: Vec<usize> = (0..self.classes.len()).collect();
        order.sort_by_key(|class| (self.classes[*class].ranks.len(), *class));
        let mut loads = vec![0u64; self.speeds.len()];
        let mut shares: Vec<Vec<u64>> = self.classes.iter().map(|class| vec![0; class.ranks.len()]).collect();
        for class in order {
            let ranks = &self.classes[class].ranks;
            let finish = |rank: Rank, load: u64| Finish((load + 1) as f64 / self.speeds[rank.index()]);
            let mut queue: BinaryHeap<Reverse<(Finish, usize)>> = ranks
                .iter()
                .enumerate()
                .map(|(index, rank)| Reverse((finish(*rank, loads[rank.index()]), index)))
                .collect();
            for _ in 0..counts[class] {
                let Some(Reverse((_, index))) = queue.pop() else { break };
                let rank = ranks[index];
                shares[class][index] += 1;
                loads[rank.index()] += 1;
                queue.push(Reverse((finish(rank, loads[rank.index()]), index)));
            }
        }
        shares
    }
}

/// The consecutive part of `0..items` that `rank` takes of what `ranks` share: all of it over all ranks,
/// each item once, lengths differing by at most 1. Empty for a rank that is not among them.
///
/// Evaluation and statistics are dealt like this: by index, whatever the speed, since they are rare.
pub fn even_part(items: u64, ranks: &[Rank], rank: Rank) -> Range<u64> {
    let Some(index) = ranks.iter().position(|other| *other == rank) else { return 0..0 };
    let bound = |index: usize| {
        let bound = u128::from(items) * index as u128 / ranks.len() as u128;
        u64::try_from(bound).expect("at most `items`: index is at most the number of ranks")
    };
    bound(index)..bound(index + 1)
}

/// When a rank would be done with one more sample; a positive finite number, so the order is total.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Finish(f64);

impl Eq for Finish {}

impl PartialOrd for Finish {
    fn partial_cmp(&self, other: &Finish) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Finish {
    fn cmp(&self, other: &Finish) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

/// `drawn * samples / all`, to the nearest, halves up.
fn rounded_share(drawn: u128, samples: u128, all: u128) -> u128 {
    // Whole epochs first: what is left is below `all` squared, which fits.
    let (epochs, left) = (drawn / all, drawn % all);
    epochs * samples + (left * samples + all / 2) / all
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// Steps of a plan that are checked one by one.
pub const MAX_CHECKED_STEPS: u64 = 1 << 20;

/// Keeps products of two counts within 128 bits and positions within 64.
pub const MAX_SAMPLES: u64 = 1 << 61;

#[cfg(test)]
mod tests;
