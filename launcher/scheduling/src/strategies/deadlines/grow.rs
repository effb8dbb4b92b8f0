//! Owned devices that nobody needs go where one more of them does most.

use super::assign::in_pool;
use super::keep::{Held, need};
use super::room::Room;
use super::share::{Gang, Segment};
use super::{MeetDeadlines, Offer, Promise};
use crate::fleet::{PoolIndex, Terms};
use crate::job::JobIndex;
use crate::state::{Phase, State};
use crate::strategies::spot::Rule;

/// A larger gang for a job.
struct Step {
    /// Work per device hour.
    gain: f64,
    index: JobIndex,
    pool: PoolIndex,
    gang: Gang,
    more: u32,
    /// For a job whose promise has begun: it cannot shrink again.
    promise: Option<Promise>,
}

impl<R: Rule> MeetDeadlines<R> {
    pub(super) fn grow(&mut self, state: &State, room: &mut Room) {
        let has_room =
            |room: &Room, pool| state.fleet.pool(pool).terms == Terms::Private && room.in_pool(pool) > 0;
        if !state.fleet.pool_indices().any(|pool| has_room(room, pool)) {
            return;
        }
        let mut growing: Vec<JobIndex> = self.wants.keys().copied().collect();
        while !growing.is_empty() {
            let steps: Vec<Step> =
                growing.iter().filter_map(|index| self.step(state, *index, room)).collect();
            growing = steps.iter().map(|step| step.index).collect();
            let best = steps.into_iter().max_by(|a, b| a.gain.total_cmp(&b.gain).then(b.index.cmp(&a.index)));
            let Some(best) = best else { return };
            if room.lend(best.pool, best.more) {
                if let Some(promise) = best.promise {
                    self.book.promise(best.index, promise);
                }
                self.wants.insert(best.index, in_pool(best.pool, best.gang.devices));
            }
        }
    }

    /// The next larger gang of the job that is worth it.
    fn step(&mut self, state: &State, index: JobIndex, room: &Room) -> Option<Step> {
        let (job, want) = (state.job(index), *self.wants.get(&index)?);
        if job.spec.devices.min == job.spec.devices.max {
            return None;
        }
        let offers = self.offers(state, index, |terms| terms == Terms::Private);
        let Offer { pool, gangs, over, .. } =
            offers.into_iter().find(|offer| want.pools.contains(offer.pool))?;
        let position = gangs.iter().position(|gang| gang.devices == want.devices)?;
        let (now, next) = (gangs[position], *gangs.get(position + 1)?);
        let more = next.devices - now.devices;
        if u64::from(more) > room.in_pool(pool) || next.rate <= now.rate {
            return None;
        }
        let left = need(state, job);
        let (slow, fast) = (left.time_at(now.rate), over + left.time_at(next.rate));
        // One that runs already starts once more for it.
        let runs = job.phase == Phase::Running
            && Held::of(state, job).is_some_and(|held| held.devices != next.devices);
        let starts = if runs { over.saturating_mul(4) } else { over };
        if fast + starts > slow + over || room.lasts(&self.book, pool, more) < fast {
            return None;
        }
        let begun = self.book.of(index).is_some_and(|promise| promise.first().from <= state.now());
        let to = state.now() + fast;
        if begun && job.spec.deadline.is_some_and(|deadline| to > deadline) {
            return None;
        }
        let segment = Segment { pool, gang: next, from: state.now(), to, over };
        let promise = begun.then(|| Promise { segments: vec![segment], cost: 0.0 });
        let gain = (next.rate.as_f64() - now.rate.as_f64()) / f64::from(more);
        Some(Step { gain, index, pool, gang: next, more, promise })
    }
}
