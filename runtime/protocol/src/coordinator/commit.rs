//! Which steps are committed: those for which every member has sent equal digests.

use std::collections::BTreeMap;

use crate::control::StepReport;
use crate::ids::{Rank, Step};

/// Workers are at most one step apart, but their reports are not: a control link that is slow or busy with a
/// checkpoint lets the others report far ahead, and one that is cut is noticed only after seconds. Beyond
/// this many steps the one that lags is at fault; it bounds what a worker can make us keep.
const MAX_OPEN_STEPS: u64 = 65_536;

#[derive(Debug)]
pub(super) struct Commits {
    ranks: usize,
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
    OutOfOrder { rank: Rank, text: String },
}

impl Commits {
    pub(super) fn new(ranks: usize, start: Step) -> Commits {
        Commits { ranks, next: start, start, reported: vec![start; ranks], open: BTreeMap::new() }
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
            return Err(Refusal::OutOfOrder { rank, text });
        }
        if step.0 >= self.next.0 + MAX_OPEN_STEPS {
            let (rank, least) = self.last_to_report();
            let text = format!("has yet to report step {least}, others are at {step}");
            return Err(Refusal::OutOfOrder { rank, text });
        }
        self.reported[rank.index()] = step.next();
        self.open.entry(step).or_default().insert(rank, (digests, report));
        let mut committed = Vec::new();
        // Nothing is committed past a step that is not, such as one whose digests differ.
        let complete = |next: Step, step: Step, members: usize| step == next && members == self.ranks;
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
    let buckets = members.values().map(|(digests, _)| digests.len()).max().unwrap_or(0);
    for bucket in 0..buckets {
        let mut votes: BTreeMap<Option<u64>, Vec<Rank>> = BTreeMap::new();
        for (rank, (digests, _)) in members {
            votes.entry(digests.get(bucket).copied()).or_default().push(*rank);
        }
        if votes.len() > 1 {
            let minority = votes.values().min_by_key(|ranks| ranks.len()).expect("two votes at least");
            let text = format!("parameters differ between ranks after step {step} in bucket {bucket}");
            return Err(Refusal::Differs { rank: minority[0], text });
        }
    }
    Ok(())
}
