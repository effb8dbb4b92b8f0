//! Which steps are committed: those for which every member has sent equal digests.

use std::collections::BTreeMap;

use crate::control::StepReport;
use crate::ids::{Rank, Step};

/// Workers are at most one step apart, but their reports are not: a control link that is slow or busy with a
/// checkpoint lets the others report far ahead, and one that is cut is noticed only after seconds. Beyond
/// this many steps the one that lags is at fault.
const MAX_OPEN_STEPS: u64 = 65_536;
/// What open steps may hold in all; it is the lower limit where workers and buckets are many.
const OPEN_BYTES: u64 = 512 << 20;
/// However large the job: 512 steps of 1,024 workers, two zones and 100 buckets are 1.1 GB.
const MIN_OPEN_STEPS: u64 = 512;
/// A report with its place among the others, and a row of sent bytes with its zone's name.
const REPORT_BYTES: usize = 192;
const ROW_BYTES: usize = 96;

/// What each report of a job looks like; one that is larger is refused, so that [`OPEN_BYTES`] holds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    pub(super) ranks: usize,
    /// Digests in a report.
    pub(super) buckets: usize,
    /// Most rows of sent bytes in a report.
    pub(super) rows: usize,
}

impl Shape {
    fn open_steps(self) -> u64 {
        let report = REPORT_BYTES + self.buckets * size_of::<u64>() + self.rows * ROW_BYTES;
        let step = u64::try_from(self.ranks.saturating_mul(report)).unwrap_or(u64::MAX).max(1);
        (OPEN_BYTES / step).clamp(MIN_OPEN_STEPS, MAX_OPEN_STEPS)
    }

    fn check(self, digests: &[u64], report: &StepReport) -> Result<(), String> {
        if digests.len() != self.buckets {
            return Err(format!("sent {} digests of {} buckets", digests.len(), self.buckets));
        }
        if report.sent.len() > self.rows {
            return Err(format!("sent {} rows of sent bytes, {} at most", report.sent.len(), self.rows));
        }
        Ok(())
    }
}

#[derive(Debug)]
pub(super) struct Commits {
    shape: Shape,
    /// The next step to commit.
    next: Step,
    start: Step,
    /// The next step of each rank.
    reported: Vec<Step>,
    open: BTreeMap<Step, BTreeMap<Rank, (Vec<u64>, StepReport)>>,
}

/// A step that all members hold alike.
#[derive(Debug)]
pub(super) struct Committed {
    pub(super) step: Step,
    /// Of all buckets together.
    pub(super) digest: u64,
    /// In rank order.
    pub(super) reports: Vec<StepReport>,
}

#[derive(Debug)]
pub(super) enum Refusal {
    Differs { rank: Rank, text: String },
    Broken { rank: Rank, text: String },
}

impl Commits {
    pub(super) fn new(shape: Shape, start: Step) -> Commits {
        Commits { shape, next: start, start, reported: vec![start; shape.ranks], open: BTreeMap::new() }
    }

    /// Whether this rank has sent its digests of `step` in this run.
    pub(super) fn has_reported(&self, rank: Rank, step: Step) -> bool {
        (self.start..self.reported[rank.index()]).contains(&step)
    }

    pub(super) fn last(&self) -> Option<Step> {
        (self.next > self.start).then(|| Step(self.next.0 - 1))
    }

    /// Takes one rank's digests; returns the steps that are committed by them.
    pub(super) fn add(
        &mut self,
        rank: Rank,
        step: Step,
        digests: Vec<u64>,
        report: StepReport,
    ) -> Result<Vec<Committed>, Refusal> {
        let expected = self.reported[rank.index()];
        if step != expected {
            let text = format!("sent step {step} where {expected} was expected");
            return Err(Refusal::Broken { rank, text });
        }
        if let Err(text) = self.shape.check(&digests, &report) {
            return Err(Refusal::Broken { rank, text: format!("{text} in step {step}") });
        }
        if step.0 - self.next.0 >= self.shape.open_steps() {
            let (rank, least) = self.last_to_report();
            let text = format!("has yet to report step {least}, others are at {step}");
            return Err(Refusal::Broken { rank, text });
        }
        self.reported[rank.index()] = step.next();
        self.open.entry(step).or_default().insert(rank, (digests, report));
        let mut committed = Vec::new();
        // Nothing is committed past a step that is not, such as one whose digests differ.
        let complete = |next: Step, step: Step, members: usize| step == next && members == self.shape.ranks;
        while let Some(entry) = self.open.first_entry()
            && complete(self.next, *entry.key(), entry.get().len())
        {
            let (step, members) = entry.remove_entry();
            compare(step, &members)?;
            self.next = step.next();
            // Digests of ranges are merged by adding: one digest of the whole arena.
            let digests = members.values().next().map(|(digests, _)| digests.as_slice()).unwrap_or_default();
            let digest = digests.iter().fold(0, |sum: u64, digest| sum.wrapping_add(*digest));
            let reports = members.into_values().map(|(_, report)| report).collect();
            committed.push(Committed { step, digest, reports });
        }
        Ok(committed)
    }

    fn last_to_report(&self) -> (Rank, Step) {
        let ranks = self.reported.iter().enumerate();
        let (index, least) = ranks.min_by_key(|(_, step)| **step).expect("a job has workers");
        (Rank::from_index(index), *least)
    }
}

/// Names the first bucket that differs and the rank in the minority.
fn compare(step: Step, members: &BTreeMap<Rank, (Vec<u64>, StepReport)>) -> Result<(), Refusal> {
    let buckets = members.values().next().map_or(0, |(digests, _)| digests.len());
    for bucket in 0..buckets {
        let mut votes: BTreeMap<u64, Vec<Rank>> = BTreeMap::new();
        for (rank, (digests, _)) in members {
            votes.entry(digests[bucket]).or_default().push(*rank);
        }
        if votes.len() > 1 {
            let minority = votes.values().min_by_key(|ranks| ranks.len()).expect("two votes at least");
            let text = format!("parameters differ between ranks after step {step} in bucket {bucket}");
            return Err(Refusal::Differs { rank: minority[0], text });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_open_steps_hold_is_bounded() {
        let shape = |ranks, buckets, rows| Shape { ranks, buckets, rows };
        assert_eq!(shape(4, 1, 12).open_steps(), MAX_OPEN_STEPS);
        assert_eq!(shape(128, 8, 12).open_steps(), (512 << 20) / (128 * (192 + 64 + 12 * 96)));
        assert_eq!(shape(1_024, 100, 12).open_steps(), MIN_OPEN_STEPS);
        assert_eq!(shape(usize::MAX, 1, 0).open_steps(), MIN_OPEN_STEPS);
    }

    #[test]
    fn beyond_the_bound_the_one_that_lags_is_named() {
        let mut commits = Commits::new(Shape { ranks: 1_024, buckets: 100, rows: 12 }, Step(7));
        let mut report = |step| commits.add(Rank(3), Step(step), vec![1; 100], StepReport::default());
        (7..7 + MIN_OPEN_STEPS).for_each(|step| assert!(report(step).unwrap().is_empty()));
        let refused = report(7 + MIN_OPEN_STEPS);
        assert!(matches!(refused, Err(Refusal::Broken { rank: Rank(0), .. })), "{refused:?}");
    }
}
