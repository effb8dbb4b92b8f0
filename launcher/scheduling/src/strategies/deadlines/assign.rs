//! Who gets which devices now.
//!
//! First those whose promise has begun; then who runs already; then those with a promise for later, where that costs
//! less; then all others.

use hcrun_protocol::time::Span;

use super::book::Offer;
use super::keep::{Held, need};
use super::room::Room;
use super::share::Gang;
use super::{MeetDeadlines, Promise, tolerance};
use crate::fleet::{PoolIndex, PoolSet, Terms};
use crate::job::{Class, JobIndex};
use crate::state::{Job, Phase, State};
use crate::strategies::spot::{Choice, On, Rule, View};
use crate::strategy::Want;

impl<R: Rule> MeetDeadlines<R> {
    /// What was seen of spot, for the gangs that may use it.
    pub(super) fn follow_spot(&mut self, state: &State) {
        let promised: Vec<JobIndex> = self.book.by_start().map(|(_, index)| index).take(MAX_LOOKED).collect();
        for index in promised {
            let offers = self.offers(state, index, |terms| terms == Terms::Spot);
            if let Some((pools, gang)) = self.book.of(index).and_then(|promise| spot_gang(&offers, promise)) {
                self.availability.follow(state, pools, gang.devices);
            }
        }
        self.availability.observe(state);
    }

    pub(super) fn assign(&mut self, state: &State, active: &[(JobIndex, PoolSet)]) {
        self.wants.clear();
        let mut room = Room::all(state);
        let grown = self.begin_promises(state, &mut room);
        self.keep_running(state, active, &mut room);
        for (index, pool, extra) in grown {
            self.keep_grown(index, pool, extra, &mut room);
        }
        let promised: Vec<JobIndex> = self.book.by_start().map(|(_, index)| index).take(MAX_LOOKED).collect();
        for index in promised {
            if !self.wants.contains_key(&index) {
                let want = self.early(state, index, &mut room);
                self.set(index, want);
            }
        }
        self.assign_rest(state, active, &mut room);
        if self.elastic {
            self.grow(state, &mut room);
        }
    }

    fn set(&mut self, index: JobIndex, want: Option<Want>) {
        if let Some(want) = want {
            self.wants.insert(index, want);
        }
    }

    /// Returns those that run on more than their promise, with what they have more.
    fn begin_promises(&mut self, state: &State, room: &mut Room) -> Vec<(JobIndex, PoolIndex, u32)> {
        let now = state.now();
        let near = now + self.clearing + Span(super::super::spot::GRACE.0 / 2);
        let begun: Vec<JobIndex> = self
            .book
            .by_start()
            .take_while(|(from, _)| *from <= near)
            .filter(|(from, index)| *from <= now + self.ahead(state, *index))
            .map(|(_, index)| index)
            .collect();
        let mut grown = Vec::new();
        for index in begun {
            let Some(promise) = self.book.of(index) else { continue };
            let (pool, devices) = (promise.first().pool, promise.first().gang.devices);
            if room.give(pool, devices) {
                let held = Held::of(state, state.job(index)).filter(|held| held.pool == pool);
                let extra = held.and_then(|held| held.devices.checked_sub(devices)).filter(|more| *more > 0);
                grown.extend(extra.map(|extra| (index, pool, extra)));
                self.set(index, Some(in_pool(pool, devices)));
            }
        }
        grown
    }

    /// Whoever is on the devices has to write its checkpoint first. And the beginning moves away while a job works on spot:
    /// it is not awaited to the last moment.
    fn ahead(&self, state: &State, index: JobIndex) -> Span {
        let job = state.job(index);
        let on_spot = Held::of(state, job).is_some_and(|held| !held.is_steady());
        self.clearing + if on_spot { Span(tolerance(job).0 / 2) } else { Span(0) }
    }

    fn keep_grown(&mut self, index: JobIndex, pool: PoolIndex, extra: u32, room: &mut Room) {
        if let Some(want) = self.wants.get_mut(&index).filter(|_| room.lend(pool, extra)) {
            want.devices += extra;
        }
    }

    fn keep_running(&mut self, state: &State, active: &[(JobIndex, PoolSet)], room: &mut Room) {
        let running = || {
            active.iter().map(|(index, _)| *index).filter(|index| state.job(*index).phase == Phase::Running)
        };
        for index in running().filter(|index| is_pinned(state.job(*index))) {
            if !self.wants.contains_key(&index) {
                let want = room.keep(state, state.job(index));
                self.set(index, want);
            }
        }
        for index in running() {
            if self.wants.contains_key(&index) {
                continue;
            }
            let want = match self.book.of(index) {
                Some(_) => self.keep_or_leave(state, index, room),
                None => room.keep(state, state.job(index)),
            };
            self.set(index, want);
        }
    }

    /// For a job that runs before its promise begins.
    fn keep_or_leave(&mut self, state: &State, index: JobIndex, room: &mut Room) -> Option<Want> {
        let job = state.job(index);
        let held = Held::of(state, job)?;
        let promise = self.book.of(index)?.clone();
        let offers = self.offers(state, index, |_| true);
        let unit = |pool, gang: Gang| price(&offers, pool) * f64::from(gang.devices) / gang.rate.as_f64();
        let gang = Gang { devices: held.devices, rate: held.rate };
        let here = unit(held.pool, gang);
        if room.in_pool(held.pool) < u64::from(held.devices) {
            return None;
        }
        let hours = held.rate.as_f64().recip() * need(state, job).as_secs_f64() / 3_600.0;
        // A cheaper pool of devices that stay, if what it saves is more than two starts.
        for offer in offers.iter().filter(|offer| state.fleet.pool(offer.pool).terms != Terms::Spot) {
            let Some(other) = largest(offer, promise_devices(&promise), room) else { continue };
            let there = unit(offer.pool, other);
            let start = 2.0 * offer.over.as_secs_f64() / 3_600.0 * offer.price * f64::from(other.devices);
            let saved = (here - there) * hours * held.rate.as_f64() - start;
            if offer.pool != held.pool && saved > 0.0 && self.is_worth(state, job, offer, other, room) {
                return room.lend(offer.pool, other.devices).then(|| in_pool(offer.pool, other.devices));
            }
        }
        let spot = offers_on(state, &offers, Terms::Spot);
        let cheapest_spot = spot_gang(&spot, &promise).map(|(pools, gang)| {
            let prices =
                spot.iter().filter(|offer| pools.contains(offer.pool)).map(|offer| unit(offer.pool, gang));
            prices.fold(f64::INFINITY, f64::min)
        });
        let stays = held.is_steady() && cheapest_spot.is_none_or(|spot| here <= spot);
        let choice = match stays {
            true => Choice::Steady,
            false => self.choose(state, index, &spot, &promise, room)?,
        };
        match (choice, held.is_steady()) {
            (Choice::Steady, true) | (Choice::Spot, false) => room.keep(state, job),
            (Choice::Spot, true) => self.start_on_spot(state, index, &spot, &promise, room),
            (Choice::Steady, false) => start(&promise, room),
            (Choice::Wait, _) => None,
        }
    }

    /// For a job that waits for its promise to begin.
    fn early(&mut self, state: &State, index: JobIndex, room: &mut Room) -> Option<Want> {
        if room.total() == 0 {
            return None;
        }
        let job = state.job(index);
        let promise = self.book.of(index)?.clone();
        let offers = self.offers(state, index, |_| true);
        let spot = offers_on(state, &offers, Terms::Spot);
        let first = promise.first();
        let promised =
            first_price(&offers, &promise) * f64::from(first.gang.devices) / first.gang.rate.as_f64();
        let on_spot = spot_gang(&spot, &promise).map_or(f64::INFINITY, |(pools, gang)| {
            let prices = spot.iter().filter(|offer| pools.contains(offer.pool)).map(|offer| offer.price);
            prices.fold(f64::INFINITY, f64::min) * f64::from(gang.devices) / gang.rate.as_f64()
        });
        let most = promised.min(on_spot);
        for offer in offers.iter().filter(|offer| state.fleet.pool(offer.pool).terms != Terms::Spot) {
            let Some(gang) = largest(offer, promise_devices(&promise), room) else { continue };
            let unit = offer.price * f64::from(gang.devices) / gang.rate.as_f64();
            if unit <= most * (1.0 + 1e-9) && self.is_worth(state, job, offer, gang, room) {
                return room.lend(offer.pool, gang.devices).then(|| in_pool(offer.pool, gang.devices));
            }
        }
        if on_spot >= promised {
            return None;
        }
        match self.choose(state, index, &spot, &promise, room)? {
            Choice::Spot => self.start_on_spot(state, index, &spot, &promise, room),
            Choice::Steady => start(&promise, room),
            Choice::Wait => None,
        }
    }

    /// Whether a gang could work for a while before what it is lent is needed; one that may not be stopped, to its end.
    fn is_worth(&self, state: &State, job: &Job, offer: &Offer, gang: Gang, room: &Room) -> bool {
        let whole = offer.over + need(state, job).time_at(gang.rate);
        let enough =
            if is_unstoppable(job) { whole } else { whole.min(offer.over.saturating_mul(4) + LEAST_RUN) };
        room.lasts(&self.book, offer.pool, gang.devices) >= enough
    }

    fn choose(
        &mut self,
        state: &State,
        index: JobIndex,
        spot: &[Offer],
        promise: &Promise,
        room: &Room,
    ) -> Option<Choice> {
        let view = view(state, index, spot, promise, room)?;
        if view.on == On::Steady && !view.may_leave_steady() {
            return Some(Choice::Steady);
        }
        let rates = self.availability.rates(view.spot, view.devices);
        let choice = self.rule.choose(&view, &rates);
        debug_assert!(
            choice != Choice::Spot || view.on == On::Spot || view.may_start_spot(),
            "spot is chosen only while it is safe"
        );
        let (again, last) = (self.rule.again(&view, choice), view.until_last_moment());
        let next = match choice {
            Choice::Steady => again,
            Choice::Spot | Choice::Wait => Some(again.map_or(last, |again| again.min(last))),
        };
        let least = Span(tolerance(state.job(index)).0 / 4).max(Span::from_millis(100));
        let next = next.map(|wait| state.now() + wait.max(least));
        self.wake = self.wake.into_iter().chain(next).min();
        Some(choice)
    }

    fn start_on_spot(
        &mut self,
        state: &State,
        index: JobIndex,
        spot: &[Offer],
        promise: &Promise,
        room: &mut Room,
    ) -> Option<Want> {
        let view = view(state, index, spot, promise, room)?;
        let pool = self.availability.best(state, &view)?;
        room.lend(pool, view.devices).then(|| in_pool(pool, view.devices))
    }

    /// Jobs without a promise: those that may still be in time by what is left of them, then all by submission.
    fn assign_rest(&mut self, state: &State, active: &[(JobIndex, PoolSet)], room: &mut Room) {
        let waiting = active.iter().map(|(index, _)| *index);
        let waiting =
            waiting.filter(|index| !self.wants.contains_key(index) && self.book.of(*index).is_none());
        let rank = |index: JobIndex| {
            let job = state.job(index);
            let hurries = self.asking.contains(&index);
            let rank = if hurries { job.estimated_left(state.now()).0 } else { job.spec.submit.0.into() };
            (!hurries, rank, index)
        };
        let mut waiting: Vec<_> = waiting.map(rank).collect();
        waiting.sort_unstable();
        for (later, _, index) in waiting {
            if room.total() == 0 {
                return;
            }
            let job = state.job(index);
            let least = if self.elastic { job.spec.devices.min } else { job.spec.devices.requested };
            if u64::from(least) > room.total()
                || job.spec.parts.is_empty() && self.too_large(state, job, least, room)
            {
                continue;
            }
            let want = self.best_effort(state, index, !later, room);
            self.set(index, want);
        }
    }

    /// Whether a gang that could have a pool of its own finds none with room.
    fn too_large(&self, state: &State, job: &Job, least: u32, room: &Room) -> bool {
        let largest = state.fleet.pool_indices().filter(|pool| job.pools.contains(*pool));
        let largest =
            largest.map(|pool| state.fleet.devices_in(PoolSet::from_iter([pool]))).max().unwrap_or(0);
        largest >= u64::from(least) && u64::from(least) > room.most()
    }

    fn best_effort(
        &mut self,
        state: &State,
        index: JobIndex,
        hurries: bool,
        room: &mut Room,
    ) -> Option<Want> {
        let job = state.job(index);
        let offers = self.offers(state, index, |_| true);
        if offers.is_empty() {
            return room.spread(state, job);
        }
        let time = job.spec.deadline.map_or(Span(0), |deadline| deadline.since(state.now()));
        for offer in &offers {
            let in_time = |gang: &&Gang| hurries && offer.over + need(state, job).time_at(gang.rate) <= time;
            let fits = |gang: &&Gang| u64::from(gang.devices) <= room.in_pool(offer.pool);
            let smallest = offer.gangs.iter().find(in_time).filter(fits);
            let usual = || {
                offer.gangs.iter().rev().find(|gang| gang.devices <= job.spec.devices.requested && fits(gang))
            };
            let Some(gang) = smallest.or_else(usual) else { continue };
            let is_spot = state.fleet.pool(offer.pool).terms == Terms::Spot;
            if (is_spot || self.is_worth(state, job, offer, *gang, room))
                && room.lend(offer.pool, gang.devices)
            {
                return Some(in_pool(offer.pool, gang.devices));
            }
        }
        None
    }
}

pub(super) fn in_pool(pool: PoolIndex, devices: u32) -> Want {
    Want { devices, pools: PoolSet::from_iter([pool]) }
}

/// Whether a job keeps the devices that it has, whatever others need.
fn is_pinned(job: &Job) -> bool {
    job.phase == Phase::Running && is_unstoppable(job)
}

pub(super) fn is_unstoppable(job: &Job) -> bool {
    !job.spec.preemptible || job.spec.class == Class::Guaranteed
}

/// Where the promise is, before it begins.
fn start(promise: &Promise, room: &mut Room) -> Option<Want> {
    let (pool, devices) = (promise.first().pool, promise.first().gang.devices);
    room.lend(pool, devices).then(|| in_pool(pool, devices))
}

fn promise_devices(promise: &Promise) -> u32 {
    promise.segments.iter().map(|segment| segment.gang.devices).max().unwrap_or(0)
}

/// The largest gang of at most `most` devices that there is room for.
fn largest(offer: &Offer, most: u32, room: &Room) -> Option<Gang> {
    let most = u64::from(most).min(room.in_pool(offer.pool));
    offer.gangs.iter().rev().find(|gang| u64::from(gang.devices) <= most).copied()
}

fn price(offers: &[Offer], pool: PoolIndex) -> f64 {
    offers.iter().find(|offer| offer.pool == pool).map_or(f64::INFINITY, |offer| offer.price)
}

fn first_price(offers: &[Offer], promise: &Promise) -> f64 {
    price(offers, promise.first().pool)
}

fn offers_on(state: &State, offers: &[Offer], terms: Terms) -> Vec<Offer> {
    offers.iter().filter(|offer| state.fleet.pool(offer.pool).terms == terms).cloned().collect()
}

/// The share of a promise on spot: as many devices, or the most below that any spot pool can give; with these pools.
fn spot_gang(spot: &[Offer], promise: &Promise) -> Option<(PoolSet, Gang)> {
    let most = promise_devices(promise);
    let below = |offer: &Offer| offer.gangs.iter().rev().find(|gang| gang.devices <= most).copied();
    let gang = spot.iter().filter_map(below).max_by_key(|gang| gang.devices)?;
    let has = |offer: &&Offer| offer.gangs.iter().any(|other| other.devices == gang.devices);
    Some((spot.iter().filter(has).map(|offer| offer.pool).collect(), gang))
}

/// The job as a rule sees it; none if it may not use spot.
fn view(state: &State, index: JobIndex, spot: &[Offer], promise: &Promise, room: &Room) -> Option<View> {
    let job = state.job(index);
    let (pools, gang) = spot_gang(spot, promise)?;
    let (deadline, now) = (job.spec.deadline?, state.now());
    let held = Held::of(state, job);
    let on = match held {
        None => On::Nothing,
        Some(held) if held.is_steady() => On::Steady,
        Some(_) => On::Spot,
    };
    let there = |pool: PoolIndex| {
        let own = held.filter(|held| held.pool == pool).map_or(0, |held| held.devices);
        room.in_pool(pool).max(own.into()) >= u64::from(gang.devices)
    };
    let (first, offered) = (promise.first(), spot.iter().filter(|offer| pools.contains(offer.pool)));
    let over_spot = offered.clone().map(|offer| offer.over).max()?;
    let over_steady = state.fleet.pool(first.pool).provisioning + job.spec.start_overhead;
    let reserve = if on == On::Steady { over_steady } else { Span(0) };
    Some(View {
        now,
        on,
        devices: gang.devices,
        spot: pools,
        spot_with_room: offered.clone().map(|offer| offer.pool).filter(|pool| there(*pool)).collect(),
        work: job.spec.estimate.time_at(gang.rate),
        left: job.estimated_left(now).time_at(gang.rate),
        window: deadline.since(job.spec.submit),
        until_deadline: deadline.since(now),
        margin: first.from.since(now) + reserve,
        over_spot,
        over_steady,
        at_risk: job.spec.checkpoint_interval,
        price_spot: offered.map(|offer| offer.price).fold(f64::INFINITY, f64::min),
        price_steady: state.fleet.costs.weight(first.pool),
    })
}

/// So many promises are looked at in one decision, those that begin first.
const MAX_LOOKED: usize = 64;
/// What a start must at least lead to, beside four times what it takes.
const LEAST_RUN: Span = Span::from_secs(60);
