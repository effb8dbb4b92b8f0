//! One decision: changes are taken in, the queue is walked in order, and what fits is started.

use hcrun_protocol::time::{Span, Time};

use super::queue::{Queue, Request};
use super::{
    Action, Admit, Decision, Discipline, Key, Mode, Order, Pace, Place, Preemption, Reason, Refresh, Size,
    Want, parts,
};
use crate::free::{Allocation, Free};
use crate::job::JobIndex;
use crate::state::{Phase, State};

/// A named tuple of stages.
#[derive(Debug)]
pub struct Strategy {
    pub name: &'static str,
    pub admit: Box<dyn Admit>,
    pub order: Box<dyn Order>,
    pub size: Box<dyn Size>,
    pub place: Box<dyn Place>,
    pub mode: Box<dyn Mode>,
    pub discipline: Discipline,
    pub preemption: Preemption,
    pub pace: Pace,
    pub(super) queue: Queue,
    /// Running jobs by key; nearly sorted from one decision to the next.
    pub(super) running: Vec<(Key, JobIndex)>,
    parts: parts::Numbers,
}

/// The stages of a strategy; [`Strategy::new`] joins them.
#[derive(Debug)]
pub struct Stages {
    pub admit: Box<dyn Admit>,
    pub order: Box<dyn Order>,
    pub size: Box<dyn Size>,
    pub place: Box<dyn Place>,
    pub mode: Box<dyn Mode>,
}

impl Strategy {
    pub fn new(
        name: &'static str,
        stages: Stages,
        discipline: Discipline,
        preemption: Preemption,
        pace: Pace,
    ) -> Strategy {
        let Stages { admit, order, size, place, mode } = stages;
        let (queue, running, parts) = (Queue::default(), Vec::new(), parts::Numbers::default());
        Strategy {
            name,
            admit,
            order,
            size,
            place,
            mode,
            discipline,
            preemption,
            pace,
            queue,
            running,
            parts,
        }
    }

    /// What to do now. The caller applies all of it before anything else happens to `state`: first every stop and the
    /// stop of every move, then the starts, for a job may get what another gives back.
    pub fn decide(&mut self, state: &State) -> Vec<Decision> {
        let mut decisions = Vec::new();
        self.order.prepare(state);
        self.mode.prepare(state);
        self.take_in(state, &mut decisions);
        if self.size.is_joint() {
            self.decide_jointly(state, &mut decisions);
            return decisions;
        }
        match self.preemption {
            Preemption::Never => self.start_what_fits(state, &mut decisions),
            Preemption::ByOrder => self.run_the_first(state, &mut decisions),
            Preemption::ByClass { min_runtime, patience } => {
                self.displace(state, min_runtime, patience, &mut decisions);
            }
            Preemption::Afresh => self.place_afresh(state, &mut decisions),
        }
        decisions
    }

    /// When to decide again although nothing happens.
    pub fn next_wake(&self, state: &State) -> Option<Time> {
        let round = match self.pace {
            Pace::Events => None,
            Pace::Rounds(length) => return Some(next_round(state.now(), length)),
            Pace::EventsAndRounds(length) => Some(next_round(state.now(), length)),
        };
        round.into_iter().chain(self.next_change(state)).min()
    }

    /// When an answer of a stage may change by itself, also while nothing runs.
    pub fn next_change(&self, state: &State) -> Option<Time> {
        let victim = match self.preemption {
            Preemption::ByClass { min_runtime, .. } => self.next_victim(state, min_runtime),
            _ => None,
        };
        let (order, size, mode) =
            (self.order.next_change(state), self.size.next_change(state), self.mode.next_change(state));
        let changes = [order, size, mode, victim];
        changes.into_iter().flatten().min()
    }

    fn take_in(&mut self, state: &State, decisions: &mut Vec<Decision>) {
        for change in state.changes() {
            let job = state.job(change.job);
            if job.phase != change.phase {
                continue; // overtaken by a later change
            }
            match change.phase {
                Phase::Waiting if job.starts == 0 => match self.admit.admit(state, job) {
                    Ok(()) => self.enqueue(state, change.job),
                    Err(why) => {
                        let (action, reason) = (Action::Refuse, Reason::Impossible(why));
                        decisions.push(Decision { job: change.job, action, reason });
                    }
                },
                Phase::Waiting => {
                    self.running.retain(|(_, job)| *job != change.job);
                    self.enqueue(state, change.job);
                }
                Phase::Running => {
                    self.queue.remove(change.job);
                    if !self.running.iter().any(|(_, job)| *job == change.job) {
                        self.running.push((Key(0), change.job));
                    }
                }
                Phase::Done | Phase::Refused => {
                    self.running.retain(|(_, job)| *job != change.job);
                    self.queue.remove(change.job);
                }
                Phase::Future => {}
            }
        }
        if self.order.refresh() == Refresh::Always {
            let waiting: Vec<JobIndex> = self.queue.jobs().collect();
            self.queue.clear();
            waiting.into_iter().for_each(|job| self.enqueue(state, job));
        }
    }

    fn enqueue(&mut self, state: &State, index: JobIndex) {
        let job = state.job(index);
        let key = self.order.key(state, job);
        let by_class = matches!(self.preemption, Preemption::ByClass { .. });
        let request = Request {
            devices: job.spec.devices.requested,
            pools: job.pools,
            parts: self.parts.of(&job.spec.parts),
            class: by_class.then_some(job.spec.class),
        };
        self.queue.insert(index, request, key);
    }

    /// Starts waiting jobs in line, out of `free`, as their discipline lets them.
    fn start_what_fits(&mut self, state: &State, decisions: &mut Vec<Decision>) {
        if self.queue.is_empty() || state.free().total() == 0 {
            return;
        }
        let mut free = state.free().clone();
        let mut walk = self.queue.walk();
        while let Some((key, index, request)) = walk.peek() {
            if self.discipline == Discipline::Skip {
                walk.skip_larger(free.total());
                if walk.peek().is_none_or(|(_, first, _)| first != index) {
                    continue;
                }
            }
            let placed = place_waiting(&*self.size, &*self.mode, &mut *self.place, state, &free, index);
            match placed {
                Placed::At(allocation) => {
                    free.take(&state.fleet, &allocation);
                    let reason =
                        walk.passed_before(key, index).map_or(Reason::Next, |of| Reason::Ahead { of });
                    decisions.push(Decision { job: index, action: Action::Start(allocation), reason });
                    walk.next();
                }
                Placed::Nowhere(_) if self.discipline == Discipline::Strict => break,
                Placed::Nowhere(want) if same(want, request) => walk.skip_lines(|other| *other == request),
                Placed::Nowhere(_) | Placed::Paused => walk.pass(),
            }
        }
    }

    /// Walks waiting and running jobs in one line; those that fit run, running jobs that do not are stopped.
    ///
    /// `open` is what no job before in line has; a running job keeps its devices if they are open. `free` is the part of
    /// it that nobody holds: waiting jobs are placed there if they can be, so that nobody is stopped needlessly. Once one
    /// was placed elsewhere, devices that nobody holds may be promised to the jobs before in line.
    fn run_the_first(&mut self, state: &State, decisions: &mut Vec<Decision>) {
        if self.queue.is_empty() {
            return;
        }
        if self.queue.devices() <= state.free().total() {
            let before = decisions.len();
            self.start_what_fits(state, decisions);
            if decisions.len() - before == self.queue.len() {
                return;
            }
            decisions.truncate(before);
        }
        for (key, index) in &mut self.running {
            *key = self.order.key(state, state.job(*index));
        }
        self.running.sort();
        let (mut open, mut free) = (state.capacity().clone(), state.free().clone());
        let mut starts = Vec::new();
        let (mut running, mut displaced) = (self.running.as_slice(), false);
        let mut walk = self.queue.walk();
        walk.skip_larger(open.total());
        while open.total() > 0 {
            let head = walk.peek();
            // All running jobs before the next waiting one.
            while let Some(((key, index), rest)) = running.split_first() {
                if head.is_some_and(|(first, waiting, _)| (first, waiting) < (*key, *index)) {
                    break;
                }
                running = rest;
                let allocation = &state.job(*index).allocation;
                if open.has(allocation) {
                    open.take(&state.fleet, allocation);
                    if displaced {
                        free.keep_at_most(&state.fleet, &open, allocation);
                    }
                } else {
                    stop(*index, decisions);
                }
            }
            walk.skip_larger(open.total());
            let Some((key, index, request)) = walk.peek() else { break };
            if head != walk.peek() {
                continue;
            }
            let (size, mode, place) = (&*self.size, &*self.mode, &mut *self.place);
            let placed = match place_waiting(size, mode, place, state, &free, index) {
                Placed::At(allocation) => {
                    free.take(&state.fleet, &allocation);
                    Placed::At(allocation)
                }
                _ => {
                    displaced = true;
                    place_waiting(size, mode, place, state, &open, index)
                }
            };
            match placed {
                Placed::At(allocation) => {
                    open.take(&state.fleet, &allocation);
                    free.keep_at_most(&state.fleet, &open, &allocation);
                    let passed = walk.passed_before(key, index);
                    let reason = passed.map_or(Reason::Next, |of| Reason::Ahead { of });
                    starts.push(Decision { job: index, action: Action::Start(allocation), reason });
                    walk.next();
                }
                Placed::Nowhere(want) if same(want, request) => walk.skip_lines(|other| *other == request),
                Placed::Nowhere(_) | Placed::Paused => walk.pass(),
            }
        }
        // What is open now is too small for all that is left in line; a running job may still fit into it.
        for (_, index) in running {
            let allocation = &state.job(*index).allocation;
            if open.has(allocation) {
                open.take(&state.fleet, allocation);
            } else {
                stop(*index, decisions);
            }
        }
        decisions.append(&mut starts);
    }
}

fn stop(job: JobIndex, decisions: &mut Vec<Decision>) {
    decisions.push(Decision { job, action: Action::Stop, reason: Reason::Overtaken });
}

pub(super) enum Placed {
    At(Allocation),
    Nowhere(Want),
    Paused,
}

pub(super) fn place_waiting(
    size: &dyn Size,
    mode: &dyn Mode,
    place: &mut dyn Place,
    state: &State,
    free: &Free,
    index: JobIndex,
) -> Placed {
    let job = state.job(index);
    let Ok(want) = size.size(state, index, job) else { return Placed::Paused };
    let want = Want { pools: want.pools.and(mode.pools(state, index, job)).and(job.pools), ..want };
    if want.pools.is_empty() {
        return Placed::Paused;
    }
    parts::place(place, state, free, job, &want).map_or(Placed::Nowhere(want), Placed::At)
}

pub(super) fn same(want: Want, request: Request) -> bool {
    want.devices == request.devices && want.pools == request.pools
}

/// The first multiple of `length` after `now`.
fn next_round(now: Time, length: Span) -> Time {
    let length = length.0.max(1);
    Time((now.0 / length + 1) * length)
}
