//! One job with a deadline and time to spare: spot, devices that stay, or waiting for spot to come back?
//!
//! A [`Rule`] answers by a [`View`] of the job, and by what was seen of spot capacity so far. Who has which devices for sure
//! when, and what other jobs need, is looked after by `strategies/deadlines`, which asks only where spot costs less.

mod availability;
mod cost_to_go;
mod expected;
mod greedy;
mod uniform;
mod view;

use hcrun_protocol::time::Span;

use crate::fleet::{PoolSet, Terms};
use crate::state::State;

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
    /// Asked before the last safe moment. Spot may be chosen only if `view.may_start_spot()` or the job is on it.
    fn choose(&mut self, view: &View, rates: &Rates) -> Choice;

    /// After which time the answer may change although no capacity comes or goes.
    fn again(&self, view: &View, choice: Choice) -> Option<Span>;
}

/// Before the last safe moment by this much, devices that stay are taken. It bounds how often that moment is looked for.
pub(crate) const GRACE: Span = Span::from_secs(60);

pub(crate) fn of_terms(state: &State, terms: Terms) -> PoolSet {
    state.fleet.pool_indices().filter(|pool| state.fleet.pool(*pool).terms == terms).collect()
}
