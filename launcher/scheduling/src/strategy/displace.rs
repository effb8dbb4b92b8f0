//! Preemption by class: whole jobs, none without need, and none that has only just begun.
//!
//! A job yields only to jobs of a higher class, so no two jobs ever stop each other.

use std::cmp::Reverse;

use hcrun_protocol::time::{Span, Time};

use super::walk::{Placed, place_waiting};
use super::{Action, Decision, Key, Reason, Strategy};
use crate::free::{Allocation, Free};
use crate::job::{Class, JobIndex};
use crate::state::{Job, State};

impl Strategy {
    pub(super) fn displace(
        &mut self,
        state: &State,
        min_runtime: Span,
        patience: Span,
        decisions: &mut Vec<Decision>,
    ) {
        if self.queue.is_empty() {
            return;
        }
        let mut free = state.free().clone();
        let mut victims = self.possible_victims(state, min_runtime);
        let (mut stops, mut starts) = (Vec::new(), Vec::new());
        let mut walk = self.queue.walk();
        while let Some((key, index, request)) = walk.peek() {
            let (size, mode, place) = (&*self.size, &*self.mode, &mut *self.place);
            let mut placed = place_waiting(size, mode, place, state, &free, index);
            if let Placed::Nowhere(_) = placed {
                let lower = |victim: &&JobIndex| state.job(**victim).spec.class < state.job(index).spec.class;
                let candidates: Vec<JobIndex> = victims.iter().filter(lower).copied().collect();
                let fits = |free: &Free, place: &mut dyn super::Place| match place_waiting(
                    size, mode, place, state, free, index,
                ) {
                    Placed::At(allocation) => Some(allocation),
                    _ => None,
                };
                if let Some((chosen, allocation)) =
                    fewest(state, &free, &candidates, |free| fits(free, place))
                {
                    for victim in chosen {
                        free.give_back(&state.fleet, &state.job(victim).allocation);
                        victims.retain(|other| *other != victim);
                        let reason = Reason::Yields { to: index };
                        stops.push(Decision { job: victim, action: Action::Stop, reason });
                    }
                    placed = Placed::At(allocation);
                }
            }
            match placed {
                Placed::At(allocation) => {
                    free.take(&state.fleet, &allocation);
                    let reason =
                        walk.passed_before(key, index).map_or(Reason::Next, |of| Reason::Ahead { of });
                    starts.push(Decision { job: index, action: Action::Start(allocation), reason });
                    walk.next();
                }
                Placed::Nowhere(want) if state.now().since(state.job(index).since) >= patience => {
                    walk.skip_lines(|other| !other.pools.and(want.pools).is_empty());
                }
                Placed::Nowhere(want) if super::walk::same(want, request) => {
                    walk.skip_lines(|other| *other == request);
                }
                _ => walk.pass(),
            }
        }
        decisions.append(&mut stops);
        decisions.append(&mut starts);
    }

    /// When the next job comes to have run long enough to yield to a waiting one.
    pub(super) fn next_victim(&self, state: &State, min_runtime: Span) -> Option<Time> {
        let highest = self.queue.requests().filter_map(|request| request.class).max()?;
        let running = state.running().map(|index| state.job(index));
        let lower = running.filter(|job| job.spec.preemptible && job.spec.class < highest);
        lower.map(|job| job.since + min_runtime).filter(|at| *at > state.now()).min()
    }

    /// Lowest class first, then who is last in line, then who was submitted last.
    fn possible_victims(&self, state: &State, min_runtime: Span) -> Vec<JobIndex> {
        let may = |job: &Job| {
            job.spec.preemptible
                && job.spec.class != Class::Guaranteed
                && state.now().since(job.since) >= min_runtime
        };
        let running = state.running().filter(|index| may(state.job(*index)));
        let rank = |index: JobIndex| (state.job(index).spec.class, Reverse((self.key(state, index), index)));
        let mut victims: Vec<JobIndex> = running.collect();
        victims.sort_by_cached_key(|index| rank(*index));
        victims
    }

    fn key(&self, state: &State, index: JobIndex) -> Key {
        self.order.key(state, state.job(index))
    }
}

/// Takes candidates until the job fits, then lets go of each that it fits without: none that is left can be spared.
fn fewest(
    state: &State,
    free: &Free,
    candidates: &[JobIndex],
    mut fits: impl FnMut(&Free) -> Option<Allocation>,
) -> Option<(Vec<JobIndex>, Allocation)> {
    let (mut with, mut chosen, mut allocation) = (free.clone(), Vec::new(), None);
    for candidate in candidates {
        with.give_back(&state.fleet, &state.job(*candidate).allocation);
        chosen.push(*candidate);
        allocation = fits(&with);
        if allocation.is_some() {
            break;
        }
    }
    let mut allocation = allocation?;
    // Those that deserve it most are spared first.
    for last in (0..chosen.len()).rev() {
        let spared = &state.job(chosen[last]).allocation;
        with.take(&state.fleet, spared);
        if let Some(without) = fits(&with) {
            allocation = without;
            chosen.remove(last);
        } else {
            with.give_back(&state.fleet, spared);
        }
    }
    Some((chosen, allocation))
}
