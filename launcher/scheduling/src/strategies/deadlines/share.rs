//! The minimum satisfactory share: the fewest devices over time with which a job is done in time.
//!
//! Devices are taken as late as can be, so that what is near stays free for jobs that have less time. In each stretch an
//! elastic job takes as many of its share as are left there; a rigid gang takes all of them or none. Source: Gu et al.,
//! "ElasticFlow", ASPLOS 2023, section 4.1, with whole gangs and the cost of starts added.

use hcrun_protocol::time::{Span, Time};

use crate::fleet::PoolIndex;
use crate::work::{Rate, Work};

/// Devices that nobody has reserved, from one moment to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stretch {
    pub from: Time,
    pub to: Time,
    pub free: u64,
}

/// A number of devices that a job can run on, and how fast it is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Gang {
    pub devices: u32,
    pub rate: Rate,
}

/// Devices of one pool that are a job's from one moment to another; the job starts at its beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Segment {
    pub pool: PoolIndex,
    pub gang: Gang,
    pub from: Time,
    pub to: Time,
    /// From the beginning to the first step.
    pub over: Span,
}

impl Segment {
    pub(super) fn work(&self) -> Work {
        Work::of(self.to.since(self.from).saturating_sub(self.over), self.gang.rate)
    }

    /// Begins as late as still does `need`.
    pub(super) fn shorten(&mut self, need: Work) {
        let begin = self.to - (self.over + need.time_at(self.gang.rate));
        self.from = self.from.max(begin);
    }
}

/// The smallest share of `gangs` (fewest devices first) that does `need` in `stretches`, and when it does it.
pub(super) fn minimum(
    pool: PoolIndex,
    stretches: &[Stretch],
    gangs: &[Gang],
    over: Span,
    need: Work,
) -> Option<Vec<Segment>> {
    (1..=gangs.len()).find_map(|most| latest(pool, stretches, &gangs[..most], over, need))
}

/// The latest segments that do `need`, in order of time.
fn latest(
    pool: PoolIndex,
    stretches: &[Stretch],
    gangs: &[Gang],
    over: Span,
    need: Work,
) -> Option<Vec<Segment>> {
    let (mut segments, mut done) = (Vec::<Segment>::new(), Work::ZERO);
    // The segment that still grows towards the present.
    let mut open: Option<Segment> = None;
    for stretch in stretches.iter().rev() {
        let fits = gangs.iter().rev().find(|gang| u64::from(gang.devices) <= stretch.free);
        let grown = match (open, fits) {
            (Some(segment), Some(gang)) if segment.gang == *gang && segment.from == stretch.to => {
                Some(Segment { from: stretch.from, ..segment })
            }
            (before, fits) => {
                // Too short to begin in: not worth a start.
                if let Some(closed) = before.filter(|segment| segment.work() > Work::ZERO) {
                    done += closed.work();
                    segments.push(closed);
                }
                fits.map(|gang| Segment { pool, gang: *gang, from: stretch.from, to: stretch.to, over })
            }
        };
        open = grown;
        let Some(mut segment) = grown else { continue };
        let missing = need.saturating_sub(done);
        if segment.work() >= missing {
            segment.shorten(missing);
            segments.push(segment);
            segments.reverse();
            return Some(segments);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3_600_000_000;

    fn stretches(free: &[(u64, u64, u64)]) -> Vec<Stretch> {
        let stretch = |(from, to, free): &(u64, u64, u64)| Stretch {
            from: Time(from * HOUR),
            to: Time(to * HOUR),
            free: *free,
        };
        free.iter().map(stretch).collect()
    }

    fn share(
        free: &[(u64, u64, u64)],
        gangs: &[(u32, f64)],
        over: u64,
        need: u64,
    ) -> Option<Vec<(u64, u64, u32)>> {
        let gangs: Vec<Gang> = gangs
            .iter()
            .map(|(devices, rate)| Gang { devices: *devices, rate: Rate::from_f64(*rate) })
            .collect();
        let need = Work::taking(Span(need * HOUR));
        let segments = minimum(PoolIndex(0), &stretches(free), &gangs, Span(over * HOUR), need)?;
        let hours = |time: Time| time.0 / HOUR;
        Some(
            segments
                .iter()
                .map(|segment| (hours(segment.from), hours(segment.to), segment.gang.devices))
                .collect(),
        )
    }

    const ONE_TWO_FOUR: [(u32, f64); 3] = [(1, 1.0), (2, 1.5), (4, 2.0)];

    #[test]
    fn the_smallest_share_that_meets_the_deadline_is_taken_and_as_late_as_can_be() {
        let free = [(0, 12, 4)];
        assert_eq!(share(&free, &ONE_TWO_FOUR, 0, 10), Some(vec![(2, 12, 1)]));
        assert_eq!(share(&free, &ONE_TWO_FOUR, 0, 15), Some(vec![(2, 12, 2)]));
        assert_eq!(share(&free, &ONE_TWO_FOUR, 0, 24), Some(vec![(0, 12, 4)]));
        assert_eq!(share(&free, &ONE_TWO_FOUR, 0, 25), None);
    }

    #[test]
    fn an_elastic_job_takes_what_is_left_of_its_share() {
        // One device for two hours and two for four would be 2 + 6 = 8; with a share of one it would be 6.
        let free = [(0, 2, 1), (2, 6, 2)];
        assert_eq!(share(&free, &ONE_TWO_FOUR, 0, 8), Some(vec![(0, 2, 1), (2, 6, 2)]));
        assert_eq!(share(&free, &ONE_TWO_FOUR, 0, 9), None);
    }

    #[test]
    fn a_rigid_gang_gets_all_or_nothing_and_pays_for_each_start() {
        let free = [(0, 3, 4), (3, 5, 3), (5, 9, 4)];
        assert_eq!(share(&free, &[(4, 1.0)], 0, 6), Some(vec![(1, 3, 4), (5, 9, 4)]));
        assert_eq!(share(&free, &[(4, 1.0)], 1, 5), Some(vec![(0, 3, 4), (5, 9, 4)]));
        assert_eq!(share(&free, &[(4, 1.0)], 1, 6), None);
        // Stretches no longer than a start are of no use.
        assert_eq!(share(&[(0, 1, 4), (2, 9, 4)], &[(4, 1.0)], 1, 7), None);
    }
}
