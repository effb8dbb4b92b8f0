//! Who was promised which devices when.
//!
//! A promise is a job's minimum share of devices that stay, as late as its deadline allows. All promises together fit
//! the fleet at each moment. A promise only ever shrinks or is exchanged for another one that fits, so no later job can
//! make a promised one late as long as no device that stays is lost and estimates hold.

use std::collections::{BTreeMap, BTreeSet};

use hcrun_protocol::time::{Span, Time};

use super::calendar::Calendar;
use super::keep::shortened;
use super::share::{Gang, Segment, minimum};
use crate::fleet::{PoolIndex, Terms};
use crate::job::JobIndex;
use crate::state::State;
use crate::work::Work;

/// What a job may be promised of one pool.
#[derive(Debug, Clone)]
pub(super) struct Offer {
    pub(super) pool: PoolIndex,
    /// Fewest devices first.
    pub(super) gangs: Vec<Gang>,
    pub(super) over: Span,
    /// Of a device hour.
    pub(super) price: f64,
}

#[derive(Debug, Clone)]
pub(super) struct Promise {
    /// In order of time; never empty.
    pub(super) segments: Vec<Segment>,
    /// In device prices times hours.
    pub(super) cost: f64,
}

impl Promise {
    pub(super) fn first(&self) -> &Segment {
        &self.segments[0]
    }
}

#[derive(Debug, Default)]
pub(super) struct Book {
    calendars: Vec<Calendar>,
    promises: BTreeMap<JobIndex, Promise>,
    by_start: BTreeSet<(Time, JobIndex)>,
    now: Time,
}

impl Book {
    /// Follows the fleet; true if a pool has less than was reserved of it on the understanding that it would stay.
    pub(super) fn advance(&mut self, state: &State) -> bool {
        self.calendars.resize_with(state.fleet.pools.len(), Calendar::default);
        self.now = state.now();
        let mut shrank = false;
        for (pool, calendar) in state.fleet.pool_indices().zip(&mut self.calendars) {
            calendar.advance(state.now());
            let there = match state.fleet.pool(pool).terms {
                Terms::Spot => 0,
                Terms::Private | Terms::OnDemand => state.capacity().in_pool(pool),
            };
            shrank |= there < calendar.capacity;
            calendar.capacity = there;
        }
        shrank
    }

    pub(super) fn of(&self, index: JobIndex) -> Option<&Promise> {
        self.promises.get(&index)
    }

    /// By the beginning of what is left of each promise.
    pub(super) fn by_start(&self) -> impl Iterator<Item = (Time, JobIndex)> + '_ {
        self.by_start.iter().copied()
    }

    pub(super) fn calendar(&self, pool: PoolIndex) -> &Calendar {
        &self.calendars[pool.index()]
    }

    /// The cheapest promise of one pool that does `need` by `until`, beside all others.
    pub(super) fn find(&self, offers: &[Offer], until: Time, need: Work) -> Option<Promise> {
        let found = offers.iter().filter_map(|offer| {
            let stretches = self.calendar(offer.pool).stretches(until);
            let share = |need| minimum(offer.pool, &stretches, &offer.gangs, offer.over, need);
            // An elastic job takes a share with some time to spare, if there is one: what is near stays free for others.
            let roomy = Some(need.scaled(ROOMY)).filter(|_| offer.gangs.len() > 1).and_then(share);
            let roomy = roomy.and_then(|segments| shortened(&segments, need, self.now, None));
            let segments = roomy.or_else(|| share(need))?;
            Some(Promise { cost: cost(&segments, offer.price), segments })
        });
        found.min_by(|a, b| a.cost.total_cmp(&b.cost))
    }

    /// Gives a job these segments in place of what it had.
    pub(super) fn promise(&mut self, index: JobIndex, promise: Promise) {
        self.release(index);
        promise.segments.iter().for_each(|segment| self.calendars[segment.pool.index()].reserve(segment));
        self.by_start.insert((promise.first().from, index));
        self.promises.insert(index, promise);
    }

    pub(super) fn release(&mut self, index: JobIndex) -> Option<Promise> {
        let promise = self.promises.remove(&index)?;
        self.by_start.remove(&(promise.first().from, index));
        promise.segments.iter().for_each(|segment| self.calendars[segment.pool.index()].release(segment));
        Some(promise)
    }
}

pub(super) fn cost(segments: &[Segment], price: f64) -> f64 {
    let hours = |segment: &Segment| segment.to.since(segment.from).as_secs_f64() / 3_600.0;
    segments.iter().map(|segment| hours(segment) * f64::from(segment.gang.devices) * price).sum()
}

/// A roomy share could do so many times the work in the same time.
const ROOMY: f64 = 1.25;
