//! Rehearses a workload under a strategy: time jumps from one event to the next.
//!
//! At one instant completions come first, then nodes that come or go, then submissions, then jobs that are taken out, then one
//! decision. The same inputs
//! give the same outcome to the byte: time is integer microseconds, work is exact, ties go to the job submitted first.

mod course;
mod outcome;
mod overheads;
mod timeline;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use hcrun_protocol::residency::allowed_zones;
use hcrun_protocol::time::Time;

use crate::fleet::Fleet;
use crate::free::Allocation;
use crate::job::{JobIndex, JobSpec, Workload};
use crate::state::{Phase, State, Stop};
use crate::strategy::{Action, Decision, Pace, Strategy};

pub use course::{Course, CourseError, NodeChange};
pub use outcome::{JobOutcome, Outcome};
pub use timeline::{Level, Slice, Timeline};

/// Looks on while a simulation runs; has no influence on it.
pub trait Observer {
    /// The strategy is about to be asked.
    fn deciding(&mut self, _state: &State) {}
    /// What it said, before it is applied.
    fn decided(&mut self, _state: &State, _decisions: &[Decision]) {}
    /// All that happens at this instant has happened.
    fn settled(&mut self, _state: &State) {}
    /// Whether nobody wants the rest any more; asked before each event.
    fn stops(&self) -> bool {
        false
    }
}

impl Observer for () {}
pub use overheads::Overheads;

/// How often every count is compared with the sum of its parts. Totals are compared at each event in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Checks {
    #[default]
    Totals,
    /// At each event; slow.
    Everything,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SimulationError {
    #[error("{strategy} stands still at {at_s} s with {waiting} jobs waiting; the first is `{first}`")]
    Stuck { strategy: &'static str, at_s: u64, waiting: usize, first: String },
    #[error(
        "{strategy} comes to no end: {left} jobs are left, and none was done for {MAX_IDLE} decisions or 3,000 years"
    )]
    Endless { strategy: &'static str, left: usize },
    /// [`Observer::stops`] said so.
    #[error("{strategy} was stopped before its end")]
    Stopped { strategy: &'static str },
}

/// Runs `workload` to its end. Jobs are held to their requests unless the strategy is elastic.
///
/// # Errors
/// If jobs are left that the strategy never starts, or the observer stops.
pub fn simulate(
    fleet: &Arc<Fleet>,
    workload: Workload,
    strategy: &mut Strategy,
    checks: Checks,
) -> Result<Outcome, SimulationError> {
    observe(fleet, workload, strategy, checks, &mut ())
}

/// As [`simulate`], with somebody who looks on.
///
/// # Errors
/// As [`simulate`].
pub fn observe(
    fleet: &Arc<Fleet>,
    workload: Workload,
    strategy: &mut Strategy,
    checks: Checks,
    observer: &mut impl Observer,
) -> Result<Outcome, SimulationError> {
    rehearse(fleet, &Course::default(), workload, strategy, checks, observer)
}

/// As [`observe`], on a fleet whose nodes come and go.
///
/// # Errors
/// As [`simulate`].
pub fn rehearse(
    fleet: &Arc<Fleet>,
    course: &Course,
    workload: Workload,
    strategy: &mut Strategy,
    checks: Checks,
    observer: &mut impl Observer,
) -> Result<Outcome, SimulationError> {
    let mut simulation = Simulation::new(fleet, course, workload, strategy, checks);
    simulation.run(strategy, observer)?;
    let Simulation { state, busy, decisions, violations, .. } = &simulation;
    Ok(Outcome::of(state, *busy, *decisions, *violations))
}

/// The state at a moment of a simulation, with all decisions of that moment applied, and the strategy as it is then.
///
/// # Errors
/// As [`simulate`].
pub fn until(
    fleet: &Arc<Fleet>,
    course: &Course,
    workload: Workload,
    strategy: &mut Strategy,
    moment: Time,
) -> Result<State, SimulationError> {
    let mut simulation = Simulation::new(fleet, course, workload, strategy, Checks::Totals);
    simulation.until = moment;
    simulation.run(strategy, &mut ())?;
    if simulation.state.now() < moment {
        simulation.advance(moment);
    }
    Ok(simulation.state)
}

struct Simulation<'a> {
    state: State,
    /// Events after it do not happen.
    until: Time,
    submitted: usize,
    /// Changes of nodes that are still to come.
    changes: &'a [NodeChange],
    /// Jobs that will be taken out, the first one last.
    leaving: Vec<(Time, JobIndex)>,
    /// When running jobs will be done or change speed, with the start they belong to.
    ends: BinaryHeap<Reverse<(Time, JobIndex, u32)>>,
    wake: Option<Time>,
    checks: Checks,
    /// Device microseconds held.
    busy: u128,
    decisions: u64,
    violations: u64,
    /// Decisions since a job came or went.
    idle: u64,
}

/// Decisions in a row without a job that came or went, after which a simulation is taken for endless: a strategy that stops
/// what it started would go on for ever.
const MAX_IDLE: u64 = 2_000_000;
/// After which a simulation is taken for endless.
const LAST: Time = Time(3_000 * 366 * 86_400 * 1_000_000);

impl<'a> Simulation<'a> {
    fn new(
        fleet: &Arc<Fleet>,
        course: &'a Course,
        mut workload: Workload,
        strategy: &Strategy,
        checks: Checks,
    ) -> Simulation<'a> {
        if !strategy.size.is_elastic() {
            workload.hold_to_requests();
        }
        let leaves = |(index, job): (usize, &JobSpec)| Some((job.leaves?, JobIndex::from_index(index)));
        let mut leaving: Vec<_> = workload.jobs().iter().enumerate().filter_map(leaves).collect();
        leaving.sort_unstable_by_key(|leaving| Reverse(*leaving));
        let state = State::new(Arc::clone(fleet), workload);
        Simulation {
            state,
            leaving,
            until: LAST,
            submitted: 0,
            changes: course.changes(),
            ends: BinaryHeap::new(),
            wake: None,
            checks,
            busy: 0,
            decisions: 0,
            violations: 0,
            idle: 0,
        }
    }

    fn run(&mut self, strategy: &mut Strategy, observer: &mut impl Observer) -> Result<(), SimulationError> {
        while let Some(now) = self.next_event(strategy) {
            if now > self.until && self.until < LAST {
                return Ok(());
            }
            if observer.stops() {
                return Err(SimulationError::Stopped { strategy: strategy.name });
            }
            if now > LAST || self.idle > MAX_IDLE {
                let left = self.state.waiting_count() + self.state.running_count();
                return Err(SimulationError::Endless { strategy: strategy.name, left });
            }
            self.advance(now);
            let before = (self.state.waiting_count() + self.state.running_count(), self.submitted);
            self.end_jobs(now);
            self.change_nodes(now);
            self.submit_jobs(now);
            self.take_out_jobs(now);
            let is_round = self.wake.is_some_and(|wake| wake <= now);
            if is_round || !matches!(strategy.pace, Pace::Rounds(_)) {
                observer.deciding(&self.state);
                let decisions = strategy.decide(&self.state);
                observer.decided(&self.state, &decisions);
                self.state.forget_changes();
                self.apply(decisions);
            }
            let after = (self.state.waiting_count() + self.state.running_count(), self.submitted);
            self.idle = if before == after { self.idle + 1 } else { 0 };
            self.state.take_disturbed().into_iter().for_each(|job| self.watch(job));
            self.check();
            observer.settled(&self.state);
            let active = self.state.running_count() > 0 || self.state.waiting_count() > 0;
            self.wake = if active { strategy.next_wake(&self.state) } else { None };
        }
        self.stuck(strategy)
    }

    fn next_event(&mut self, strategy: &Strategy) -> Option<Time> {
        while let Some(Reverse((_, job, start))) = self.ends.peek() {
            let job = self.state.job(*job);
            if job.phase == Phase::Running && job.starts == *start {
                break;
            }
            self.ends.pop();
        }
        let gone = |job: &JobIndex| matches!(self.state.job(*job).phase, Phase::Done | Phase::Refused);
        while self.leaving.pop_if(|(_, job)| gone(job)).is_some() {}
        let end = self.ends.peek().map(|Reverse((at, ..))| *at);
        let leave = self.leaving.last().map(|(at, _)| *at);
        let submit = self.state.jobs().get(self.submitted).map(|job| job.spec.submit);
        let active = self.state.running_count() > 0 || self.state.waiting_count() > 0 || submit.is_some();
        let change = self.changes.first().filter(|_| active).map(|change| change.at);
        let next = [end, leave, submit, change].into_iter().flatten().min();
        // Waking up changes nothing once nothing can happen any more and the strategy knows all that did, unless it changes its
        // mind with time; a queue that stands still is found below.
        let may_act = || {
            self.state.running_count() > 0
                || !self.state.changes().is_empty()
                || strategy.next_change(&self.state).is_some()
        };
        next.map_or_else(
            || self.wake.filter(|_| may_act()),
            |next| Some(self.wake.map_or(next, |wake| wake.min(next))),
        )
    }

    fn advance(&mut self, now: Time) {
        let elapsed = u128::from(now.since(self.state.now()).0);
        self.busy += elapsed * u128::from(self.state.used());
        self.state.advance(now);
    }

    fn end_jobs(&mut self, now: Time) {
        while let Some(Reverse((at, index, start))) =
            self.ends.peek().copied().filter(|Reverse((at, ..))| *at <= now)
        {
            self.ends.pop();
            let job = self.state.job(index);
            if job.phase != Phase::Running || job.starts != start {
                continue;
            }
            debug_assert!(at == now, "events are taken in order");
            if job.is_complete(now) {
                self.state.complete(index);
            } else {
                self.state.set_rate(index);
                self.watch(index);
            }
        }
    }

    fn change_nodes(&mut self, now: Time) {
        while let Some((change, rest)) = self.changes.split_first().filter(|(change, _)| change.at <= now) {
            self.changes = rest;
            self.state.change_node(change.node, change.devices, change.notice);
        }
    }

    fn submit_jobs(&mut self, now: Time) {
        while self.state.jobs().get(self.submitted).is_some_and(|job| job.spec.submit <= now) {
            self.state.submit(JobIndex::from_index(self.submitted));
            self.submitted += 1;
        }
    }

    fn take_out_jobs(&mut self, now: Time) {
        while let Some((_, job)) = self.leaving.pop_if(|(at, _)| *at <= now) {
            if matches!(self.state.job(job).phase, Phase::Waiting | Phase::Running) {
                self.state.withdraw(job);
            }
        }
    }

    /// Jobs that move may swap places: all devices are given back before any are taken.
    fn apply(&mut self, decisions: Vec<Decision>) {
        self.decisions += decisions.len() as u64;
        for Decision { job, action, .. } in &decisions {
            if let Action::Start(allocation) | Action::Move(allocation) = action {
                self.violations += u64::from(violates(&self.state, *job, allocation));
            }
            match action {
                Action::Refuse => self.state.refuse(*job),
                Action::Stop => self.state.stop(*job, Stop::Preempted),
                Action::Move(_) => self.state.stop(*job, Stop::Moved),
                Action::Start(_) => {}
            }
        }
        for Decision { job, action, .. } in decisions {
            if let Action::Start(allocation) | Action::Move(allocation) = action {
                self.state.start(job, allocation);
                self.watch(job);
            }
        }
    }

    fn watch(&mut self, index: JobIndex) {
        let job = self.state.job(index);
        if let Some(at) = job.next_change() {
            self.ends.push(Reverse((at, index, job.starts)));
        }
    }

    fn check(&self) {
        match self.checks {
            Checks::Totals => self.state.check_totals(),
            Checks::Everything => self.state.check(),
        }
    }

    fn stuck(&self, strategy: &Strategy) -> Result<(), SimulationError> {
        let first =
            self.state.jobs().iter().find(|job| job.phase == Phase::Waiting || job.phase == Phase::Running);
        first.map_or(Ok(()), |first| {
            Err(SimulationError::Stuck {
                strategy: strategy.name,
                at_s: self.state.now().0 / 1_000_000,
                waiting: self.state.waiting_count(),
                first: first.spec.id.clone(),
            })
        })
    }
}

/// Whether a part of an allocation is in a zone that may not hold one of the job's shards. Asks the rules of residency
/// anew instead of trusting what was derived from them at submission.
fn violates(state: &State, job: JobIndex, allocation: &Allocation) -> bool {
    let zones =
        allocation.parts().iter().map(|(node, _)| &state.fleet.zone(state.fleet.node(*node).zone).name);
    let mut allowed = state.job(job).spec.shards.iter().map(|shard| allowed_zones(shard, &state.fleet.zones));
    allowed.any(|allowed| allowed.map_or(true, |allowed| zones.clone().any(|zone| !allowed.contains(zone))))
}
