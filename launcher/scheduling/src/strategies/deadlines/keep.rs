//! What becomes of a promise as its job goes on.

use hcrun_protocol::time::{Span, Time};

use super::share::{Gang, Segment};
use crate::fleet::{PoolIndex, Terms};
use crate::state::{Job, Phase, State};
use crate::work::{Rate, Work};

/// Devices of one pool that a job has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) pool: PoolIndex,
    pub(super) devices: u32,
    pub(super) rate: Rate,
    /// Until its first step there.
    pub(super) starting: Span,
    pub(super) terms: Terms,
}

impl Held {
    /// None for a job that holds nothing, or devices of several pools.
    pub(super) fn of(state: &State, job: &Job) -> Option<Held> {
        let mut pools = job.allocation.parts().iter().map(|(node, _)| state.fleet.node(*node).pool);
        let pool = pools.next().filter(|_| job.phase == Phase::Running)?;
        pools.all(|other| other == pool).then(|| Held {
            pool,
            devices: job.allocation.devices(),
            rate: job.rate(),
            starting: job.ready().since(state.now()),
            terms: state.fleet.pool(pool).terms,
        })
    }

    pub(super) fn is_steady(&self) -> bool {
        self.terms != Terms::Spot
    }

    /// From now on, as long as there is work left.
    pub(super) fn until_done(&self, state: &State, job: &Job) -> Segment {
        let (from, to) = (state.now(), state.now() + self.needs(need(state, job)));
        let gang = Gang { devices: self.devices, rate: self.rate };
        Segment { pool: self.pool, gang, from, to, over: self.starting }
    }

    pub(super) fn needs(&self, work: Work) -> Span {
        self.starting + work.time_at(self.rate)
    }
}

/// What there would be left to do if all devices on spot were lost now.
pub(super) fn need(state: &State, job: &Job) -> Work {
    let on_spot = |pool| state.fleet.pool(pool).terms == Terms::Spot;
    let mut pools = job.allocation.parts().iter().map(|(node, _)| state.fleet.node(*node).pool);
    let safe = if pools.any(on_spot) { job.kept(state.now(), Span(0)) } else { job.done(state.now()) };
    Work(job.spec.estimate.saturating_sub(safe).0.max(1))
}

/// The latest part of a promise that still does `need`; none if all of it does not.
pub(super) fn shortened(
    segments: &[Segment],
    need: Work,
    now: Time,
    held: Option<Held>,
) -> Option<Vec<Segment>> {
    let (mut left, mut kept) = (need, Vec::new());
    for segment in segments.iter().rev().filter(|segment| segment.to > now) {
        let mut fresh = Segment { from: segment.from.max(now), ..*segment };
        let begun = held.filter(|held| {
            segment.from <= now && held.pool == segment.pool && held.devices == segment.gang.devices
        });
        if let Some(held) = begun {
            // The start is behind it, or partly. It stays begun, whatever is rounded.
            let to = segment.to.min(now + held.needs(left));
            left = left.saturating_sub(Work::of(to.since(now).saturating_sub(held.starting), held.rate));
            kept.push(Segment { from: now, to, over: held.starting, ..*segment });
        } else if fresh.work() >= left {
            fresh.shorten(left);
            kept.push(fresh);
            left = Work::ZERO;
        } else {
            left = left.saturating_sub(fresh.work());
            kept.push(fresh);
        }
        if left == Work::ZERO {
            break;
        }
    }
    kept.reverse();
    (left == Work::ZERO && !kept.is_empty()).then_some(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(from: u64, to: u64, over: u64) -> Segment {
        let gang = Gang { devices: 2, rate: Rate::ONE };
        Segment { pool: PoolIndex(0), gang, from: Time(from), to: Time(to), over: Span(over) }
    }

    fn left(segments: &[Segment], need: u64, now: u64, held: Option<Held>) -> Option<Vec<(u64, u64)>> {
        let kept = shortened(segments, Work::taking(Span(need)), Time(now), held)?;
        Some(kept.iter().map(|segment| (segment.from.0, segment.to.0)).collect())
    }

    #[test]
    fn a_promise_shrinks_from_its_beginning() {
        let promise = [segment(10, 30, 5), segment(40, 60, 5)];
        assert_eq!(left(&promise, 30, 0, None), Some(vec![(10, 30), (40, 60)]));
        assert_eq!(left(&promise, 20, 0, None), Some(vec![(20, 30), (40, 60)]));
        assert_eq!(left(&promise, 10, 0, None), Some(vec![(45, 60)]));
        assert_eq!(left(&promise, 30, 11, None), None);
    }

    #[test]
    fn a_job_that_has_begun_needs_no_second_start() {
        let held = |starting| Held {
            pool: PoolIndex(0),
            devices: 2,
            rate: Rate::ONE,
            starting: Span(starting),
            terms: Terms::Private,
        };
        let promise = [segment(10, 30, 5)];
        assert_eq!(left(&promise, 15, 12, Some(held(3))), Some(vec![(12, 30)]));
        assert_eq!(left(&promise, 14, 16, Some(held(0))), Some(vec![(16, 30)]));
        assert_eq!(left(&promise, 15, 16, Some(held(0))), None);
        assert_eq!(left(&promise, 14, 16, None), None);
    }
}
