//! Jobs with deadlines on owned, on-demand and spot devices, all planned together.
//!
//! Each job that can be in time is promised its minimum share of devices that stay ([`share`], [`book`]). Until its promise
//! begins it has time to spare, and uses it to run where it costs less: on free devices of cheaper pools, or on spot, as its
//! [`Rule`] says. When the promise begins the job goes there, whoever else is on those devices. Jobs without a promise
//! take what is left; those that may still be in time go first.

mod assign;
mod book;
mod calendar;
mod grow;
mod keep;
mod room;
mod share;

use std::collections::{BTreeMap, BTreeSet};

use hcrun_protocol::time::{Span, Time};

use super::elastic::Configurations;
use super::spot::{Availability, Rule};
use crate::fleet::{PoolSet, Terms};
use crate::job::JobIndex;
use crate::state::{Job, Phase, State};
use crate::strategy::{Key, Order, Size, Want};
use crate::work::{Rate, Work};
use book::{Book, Offer, Promise};
use keep::{Held, need, shortened};
use share::{Gang, Segment};

/// Decides for all jobs at once. Elastic jobs keep to their requests unless `elastic`.
#[derive(Debug)]
pub struct MeetDeadlines<R> {
    rule: R,
    elastic: bool,
    configurations: Configurations,
    availability: Availability,
    book: Book,
    /// With a deadline that could still be met, and without a promise.
    asking: BTreeSet<JobIndex>,
    wants: BTreeMap<JobIndex, Want>,
    wake: Option<Time>,
    /// Longest that a job takes to leave its devices.
    clearing: Span,
}

impl<R: Rule> MeetDeadlines<R> {
    pub fn new(rule: R, elastic: bool) -> MeetDeadlines<R> {
        MeetDeadlines {
            rule,
            elastic,
            configurations: Configurations::default(),
            availability: Availability::default(),
            book: Book::default(),
            asking: BTreeSet::new(),
            wants: BTreeMap::new(),
            wake: None,
            clearing: Span(0),
        }
    }

    /// Whether devices are reserved for the job with which it is in time.
    pub fn is_promised(&self, index: JobIndex) -> bool {
        self.book.of(index).is_some()
    }

    fn take_in(&mut self, state: &State) {
        for change in state.changes() {
            let job = state.job(change.job);
            match change.phase {
                Phase::Waiting => {
                    self.clearing = self.clearing.max(job.spec.stop_overhead);
                    if job.spec.deadline.is_some() && !self.begin_anew(state, change.job) {
                        self.asking.insert(change.job);
                    }
                }
                Phase::Done | Phase::Refused => {
                    self.book.release(change.job);
                    self.asking.remove(&change.job);
                }
                Phase::Running | Phase::Future => {}
            }
        }
    }

    /// A job that was stopped or lost: its promise may have to begin earlier. Nobody can take its place meanwhile.
    fn begin_anew(&mut self, state: &State, index: JobIndex) -> bool {
        let Some(before) = self.book.release(index) else { return false };
        if self.ask(state, index) {
            return true;
        }
        let kept = shortened(&before.segments, need(state, state.job(index)), state.now(), None);
        let promise = kept.map(|segments| Promise { segments, cost: before.cost });
        promise.map(|promise| self.book.promise(index, promise)).is_some()
    }

    /// Promises shrink as their jobs go on.
    fn keep_promises(&mut self, state: &State) {
        for index in state.running() {
            let job = state.job(index);
            if let Some(held) = self.pinned(state, job) {
                self.book.promise(index, held);
                self.asking.remove(&index);
                continue;
            }
            let Some(promise) = self.book.release(index) else { continue };
            match shortened(&promise.segments, need(state, job), state.now(), Held::of(state, job)) {
                Some(segments) => {
                    let cost = book::cost(&segments, self.price(state, &segments));
                    self.book.promise(index, Promise { segments, cost });
                }
                None => {
                    self.asking.insert(index);
                }
            }
        }
    }

    /// What a job holds that may not be stopped, until it is done.
    fn pinned(&self, state: &State, job: &Job) -> Option<Promise> {
        let held = Held::of(state, job).filter(|held| held.is_steady() && assign::is_unstoppable(job))?;
        Some(Promise { cost: 0.0, segments: vec![held.until_done(state, job)] })
    }

    /// A pool lost devices that were reserved: all promises are made anew, those that begin first go first.
    fn promise_anew(&mut self, state: &State) {
        let all: Vec<JobIndex> = self.book.by_start().map(|(_, index)| index).collect();
        let all: Vec<_> = all.into_iter().filter(|index| self.book.release(*index).is_some()).collect();
        for index in all {
            if !self.ask(state, index) {
                self.asking.insert(index);
            }
        }
    }

    /// Promises for those without one, least work first.
    fn admit(&mut self, state: &State) {
        let volume = |index: &JobIndex| {
            let job = state.job(*index);
            job.estimated_left(state.now()).0.saturating_mul(u128::from(job.spec.devices.requested))
        };
        let new: BTreeSet<JobIndex> = state.changes().iter().map(|change| change.job).collect();
        let mut asking: Vec<(bool, u128, JobIndex)> =
            self.asking.iter().map(|index| (!new.contains(index), volume(index), *index)).collect();
        asking.sort_unstable();
        let new = asking.iter().filter(|(old, ..)| !old).count();
        for (_, _, index) in asking.into_iter().take(new.max(MAX_ASKED)) {
            if self.ask(state, index) || !self.is_possible(state, index) {
                self.asking.remove(&index);
            }
        }
    }

    /// Tries to promise the job its minimum share, or what it holds until it is done.
    fn ask(&mut self, state: &State, index: JobIndex) -> bool {
        let job = state.job(index);
        let Some(deadline) = job.spec.deadline else { return false };
        let until = deadline - tolerance(job);
        let offers = self.offers(state, index, |terms| terms != Terms::Spot);
        let found = self.book.find(&offers, until, need(state, job));
        let promise = found.or_else(|| self.settle(state, job, deadline));
        let Some(promise) = promise else { return false };
        self.book.promise(index, promise);
        true
    }

    /// What the job holds already, from now until it is done.
    fn settle(&self, state: &State, job: &Job, deadline: Time) -> Option<Promise> {
        let held = Held::of(state, job).filter(Held::is_steady)?;
        let (now, segments) = (state.now(), vec![held.until_done(state, job)]);
        let there = self.book.calendar(held.pool).there_until(held.devices.into());
        let fits = |to| to <= deadline && there.is_none_or(|until| until >= to);
        let cost = book::cost(&segments, self.price(state, &segments));
        (segments[0].to > now && fits(segments[0].to)).then_some(Promise { segments, cost })
    }

    /// Exchanges promises for cheaper ones where others have left room.
    fn exchange(&mut self, state: &State) {
        let now = state.now();
        let later = self.book.by_start().filter(|(from, _)| *from > now).map(|(_, index)| index);
        for index in later.take(MAX_ASKED).collect::<Vec<_>>() {
            let job = state.job(index);
            let Some(deadline) = job.spec.deadline else { continue };
            let offers = self.offers(state, index, |terms| terms != Terms::Spot);
            let cheapest = offers.iter().map(|offer| offer.price).fold(f64::INFINITY, f64::min);
            let Some(promise) = self.book.of(index) else { continue };
            if self.price(state, &promise.segments) <= cheapest {
                continue;
            }
            let Some(before) = self.book.release(index) else { continue };
            let found = self.book.find(&offers, deadline - tolerance(job), need(state, job));
            let held = || self.settle(state, job, deadline).filter(|held| held.cost < before.cost * LESS);
            let better = found.filter(|found| found.cost < before.cost * LESS).or_else(held);
            self.book.promise(index, better.unwrap_or(before));
        }
    }

    /// Whether the job could be in time if it had all that it may have from now on.
    fn is_possible(&mut self, state: &State, index: JobIndex) -> bool {
        let job = state.job(index);
        let Some(deadline) = job.spec.deadline else { return false };
        let left = deadline.since(state.now());
        let held = Held::of(state, job).is_some_and(|held| held.needs(need(state, job)) <= left);
        let offers = self.offers(state, index, |_| true);
        let fits = |offer: &Offer| {
            let fastest = offer.gangs.iter().map(|gang| gang.rate).max().unwrap_or(Rate::ZERO);
            offer.over + need(state, job).time_at(fastest) <= left
        };
        held || offers.iter().any(fits)
    }

    /// What the job may have of each pool on such terms.
    fn offers(&mut self, state: &State, index: JobIndex, terms: impl Fn(Terms) -> bool) -> Vec<Offer> {
        let job = state.job(index);
        if job.spec.parts.len() > 1 {
            return Vec::new();
        }
        let (elastic, requested) = (self.elastic, job.spec.devices.requested);
        let mut offers = Vec::<Offer>::new();
        for choice in self.configurations.of(state, index, job, job.pools) {
            let pool = state.fleet.pool(choice.pool);
            if !terms(pool.terms) || !elastic && choice.devices != requested {
                continue;
            }
            let gang = Gang { devices: choice.devices, rate: Rate::from_f64(choice.rate) };
            match offers.last_mut().filter(|offer| offer.pool == choice.pool) {
                Some(offer) => offer.gangs.push(gang),
                None => offers.push(Offer {
                    pool: choice.pool,
                    gangs: vec![gang],
                    over: pool.provisioning + job.spec.start_overhead + self.clearing,
                    price: state.fleet.costs.weight(choice.pool),
                }),
            }
        }
        // Where prices are alike, what is owned goes first.
        offers.sort_by(|a, b| {
            let key = |offer: &Offer| (state.fleet.pool(offer.pool).terms != Terms::Private, offer.pool);
            a.price.total_cmp(&b.price).then(key(a).cmp(&key(b)))
        });
        offers
    }

    /// Of a device hour of a promise.
    fn price(&self, state: &State, segments: &[Segment]) -> f64 {
        segments.first().map_or(0.0, |segment| state.fleet.costs.weight(segment.pool))
    }
}

impl<R: Rule> Size for MeetDeadlines<R> {
    fn is_joint(&self) -> bool {
        true
    }

    fn is_elastic(&self) -> bool {
        self.elastic
    }

    fn prepare(&mut self, state: &State, active: &[(JobIndex, PoolSet)]) {
        self.wake = None;
        let shrank = self.book.advance(state);
        self.take_in(state);
        self.keep_promises(state);
        if shrank {
            self.promise_anew(state);
        }
        self.admit(state);
        self.exchange(state);
        self.follow_spot(state);
        self.assign(state, active);
        let later = self.book.by_start().map(|(from, _)| from).filter(|from| *from > state.now());
        let early =
            |from: Time| Some(from - self.clearing).filter(|early| *early > state.now()).unwrap_or(from);
        let next = later.take(MAX_ASKED).map(early).min();
        self.wake = self.wake.into_iter().chain(next).min();
    }

    fn size(&self, _state: &State, index: JobIndex, _job: &Job) -> Result<Want, &'static str> {
        let why = || match self.book.of(index) {
            Some(_) => {
                "devices are reserved for it in time for its deadline, and none that cost less are free"
            }
            None => "too few devices are free that no job with a deadline has reserved",
        };
        self.wants.get(&index).copied().ok_or_else(why)
    }

    fn next_change(&self, _state: &State) -> Option<Time> {
        self.wake
    }
}

/// A promise ends so long before the deadline: it bounds how often its beginning is looked for while it moves.
fn tolerance(job: &Job) -> Span {
    let window = job.spec.deadline.map_or(Span(0), |deadline| deadline.since(job.spec.submit));
    Span((window.0 / 100).min(super::spot::GRACE.0))
}

/// Least time to spare first: deadline less the work left. Jobs without a deadline come last, by submission.
#[derive(Debug, Clone, Copy)]
pub struct LeastSlack;

impl Order for LeastSlack {
    fn key(&self, state: &State, job: &Job) -> Key {
        let Some(deadline) = job.spec.deadline else { return Key(1 << 64 | u128::from(job.spec.submit.0)) };
        let left: Work = job.estimated_left(state.now());
        Key(u128::from((deadline - left.time_at(Rate::ONE)).0))
    }
}

/// Of those that were refused a promise, so many ask again at a time; and so many promises are looked at for cheaper ones.
const MAX_ASKED: usize = 16;
/// A promise is exchanged for one that costs this share of it.
const LESS: f64 = 0.98;
