//! Spot capacity under deadlines: which jobs run on spot, which on devices that stay, which wait for spot to come back.
//!
//! [`SpotMode`] looks after what all such strategies share: how much time there is to spare, the last moment at which
//! devices that stay must be taken, what was seen of spot capacity so far. A [`Rule`] decides the rest.

mod availability;
mod cost_to_go;
mod expected;
mod greedy;
mod uniform;
mod view;

use std::collections::{BTreeMap, BTreeSet};

use hcrun_protocol::time::{Span, Time};

use crate::fleet::{PoolSet, Terms};
use crate::job::JobIndex;
use crate::state::{Job, Phase, State};
use crate::strategy::{Key, Mode, Order, Size, Want};

pub use availability::{Availability, Rates};
pub use expected::LeastExpectedCost;
pub use greedy::Greedy;
pub use uniform::UniformProgress;
pub(super) use view::rate_in;
pub use view::{On, View};

/// What a job should run on now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    Spot,
    /// Owned or rented until given back.
    Steady,
    Wait,
}

/// Chooses between spot, devices that stay, and waiting, as long as there is a choice.
pub trait Rule: std::fmt::Debug {
    /// `now` is before the last safe moment. Spot may be chosen only if `view.may_start_spot()` or the job is on it.
    fn choose(&mut self, view: &View, rates: &Rates) -> Choice;

    /// After which time the answer may change although no capacity comes or goes.
    fn again(&self, view: &View, choice: Choice) -> Option<Span>;
}

/// Before the last safe moment by this much, devices that stay are taken. It bounds how often that moment is looked for.
pub(crate) const GRACE: Span = Span::from_secs(60);

#[derive(Debug)]
pub struct SpotMode<R> {
    rule: R,
    active: BTreeSet<JobIndex>,
    availability: Availability,
    chosen: BTreeMap<JobIndex, PoolSet>,
    wake: Option<Time>,
}

impl<R: Rule> SpotMode<R> {
    pub fn new(rule: R) -> SpotMode<R> {
        let (active, chosen) = (BTreeSet::new(), BTreeMap::new());
        SpotMode { rule, active, availability: Availability::default(), chosen, wake: None }
    }

    fn take_in(&mut self, state: &State) {
        for change in state.changes() {
            match change.phase {
                Phase::Waiting | Phase::Running => {
                    let job = state.job(change.job);
                    if job.spec.deadline.is_some() && has_terms(state, job, Terms::Spot) {
                        self.active.insert(change.job);
                    }
                }
                Phase::Done | Phase::Refused => {
                    self.active.remove(&change.job);
                    self.chosen.remove(&change.job);
                }
                Phase::Future => {}
            }
        }
    }

    fn choose(&mut self, view: &View) -> Choice {
        if view.on == On::Steady && !view.may_leave_steady() || view.margin <= GRACE {
            return Choice::Steady;
        }
        let rates = self.availability.rates(view.spot, view.devices);
        let choice = self.rule.choose(view, &rates);
        let allowed = match choice {
            Choice::Spot => view.on == On::Spot || view.may_start_spot(),
            Choice::Steady | Choice::Wait => true,
        };
        debug_assert!(allowed, "spot is chosen only while it is safe");
        let (again, last) = (self.rule.again(view, choice), view.until_last_moment());
        let next = match choice {
            Choice::Steady => again,
            Choice::Spot | Choice::Wait => Some(again.map_or(last, |again| again.min(last))),
        };
        let next = next.map(|wait| view.now + wait.max(Span(GRACE.0 / 2)));
        self.wake = self.wake.into_iter().chain(next).min();
        choice
    }
}

impl<R: Rule> Mode for SpotMode<R> {
    fn prepare(&mut self, state: &State) {
        self.take_in(state);
        self.wake = None;
        for index in &self.active {
            let job = state.job(*index);
            self.availability.follow(
                state,
                job.pools.and(of_terms(state, Terms::Spot)),
                job.spec.devices.requested,
            );
        }
        self.availability.observe(state);
        for index in self.active.clone() {
            let job = state.job(index);
            let Some(view) = View::of(state, job) else { continue };
            let pools = match self.choose(&view) {
                Choice::Spot if view.on == On::Spot => view.spot,
                Choice::Spot => self.availability.best(state, &view),
                Choice::Steady => view.steady,
                Choice::Wait => PoolSet::NONE,
            };
            self.chosen.insert(index, pools);
        }
    }

    fn pools(&self, state: &State, index: JobIndex, job: &Job) -> PoolSet {
        let chosen = self.chosen.get(&index).copied().unwrap_or(job.pools);
        // A gang that is too large for the pools of its choice takes what there is.
        let fits = state.fleet.devices_in(chosen.and(job.pools)) >= u64::from(job.spec.devices.requested);
        if fits || chosen.is_empty() { chosen } else { job.pools }
    }

    fn next_change(&self, _state: &State) -> Option<Time> {
        self.wake
    }
}

/// The requested devices, decided for all jobs at once so that running jobs move to other pools.
#[derive(Debug, Clone, Copy)]
pub struct Movable;

impl Size for Movable {
    fn is_joint(&self) -> bool {
        true
    }

    fn size(&self, _state: &State, _index: JobIndex, job: &Job) -> Result<Want, &'static str> {
        Ok(Want { devices: job.spec.devices.requested, pools: job.pools })
    }
}

/// Least time to spare first: deadline less the work left. Jobs without a deadline come last, by submission.
#[derive(Debug, Clone, Copy)]
pub struct LeastSlack;

impl Order for LeastSlack {
    fn key(&self, state: &State, job: &Job) -> Key {
        let Some(deadline) = job.spec.deadline else { return Key(1 << 64 | u128::from(job.spec.submit.0)) };
        let left = job.estimated_left(state.now()).time_at(crate::Rate::ONE);
        Key(u128::from((deadline - left).0))
    }
}

pub(crate) fn of_terms(state: &State, terms: Terms) -> PoolSet {
    state.fleet.pool_indices().filter(|pool| state.fleet.pool(*pool).terms == terms).collect()
}

fn has_terms(state: &State, job: &Job, terms: Terms) -> bool {
    !job.pools.and(of_terms(state, terms)).is_empty()
}
