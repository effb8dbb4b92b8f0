//! A strategy: five stages, each a small trait, and the walk through the queue that they steer.
//!
//! | stage | asks |
//! | --- | --- |
//! | [`Admit`] | may the job wait at all? |
//! | [`Order`] | who is looked at first? |
//! | [`Size`] | how many devices, of which model? |
//! | [`Place`] | which nodes? |
//! | [`Mode`] | which pools: private, on-demand, spot? |
//!
//! Each decides one thing and gives a [`Reason`] that a person understands. A new policy is one file with one of these traits
//! and one line in [`crate::strategies`].

mod afresh;
mod displace;
mod joint;
mod parts;
mod queue;
mod walk;
mod why;

use std::fmt;

use hcrun_protocol::time::{Span, Time};

use crate::fleet::PoolSet;
use crate::free::{Allocation, Free};
use crate::job::JobIndex;
use crate::state::{Job, State};

pub use walk::{Stages, Strategy};
pub use why::{Answer, EnoughFree, Holder, PoolView, Why};

/// Jobs with smaller keys go first; ties go to the job that was submitted first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(pub u128);

impl Key {
    /// Keeps the order of numbers, NaN last.
    pub fn from_f64(number: f64) -> Key {
        let bits = number.to_bits();
        // Negative numbers sort backwards as integers, positive ones after them.
        Key(u128::from(if bits >> 63 == 1 { !bits } else { bits | 1 << 63 }))
    }
}

/// When keys change without anything happening to their job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refresh {
    /// While it runs, at most.
    Running,
    /// With time, also while it waits: all keys are computed at each decision.
    Always,
}

/// Whether those behind a job that does not fit may go first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Discipline {
    /// The head of the queue blocks all behind it.
    Strict,
    /// Whoever fits goes.
    Skip,
}

/// Whether running jobs give way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preemption {
    /// What runs, runs to its end.
    Never,
    /// Running jobs stand in line with the waiting ones at each decision.
    ByOrder,
    /// A waiting job takes the devices of whole jobs of lower classes that have held theirs for `min_runtime`, of none
    /// that it fits without. Once it has waited for `patience`, nobody behind it starts on pools that it may use.
    ByClass { min_runtime: Span, patience: Span },
    /// All jobs start again at each decision, in line, as if nothing had run.
    Afresh,
}

/// When a strategy wants to be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// Whenever a job arrives or ends, or a node comes or goes.
    Events,
    /// In rounds of this length, and not between them.
    Rounds(Span),
    /// At events, and at the latest after this time.
    EventsAndRounds(Span),
}

/// Why a job was started, stopped or refused; the words of `hcrun why`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// First in line, and it fits.
    Next,
    /// Fits, while this job ahead of it does not.
    Ahead { of: JobIndex },
    /// Its devices go to jobs before it in line.
    Overtaken,
    /// Its devices go to this job of a higher class.
    Yields { to: JobIndex },
    /// Another number of devices, or another model, is worth more.
    Resized { from: u32, to: u32 },
    /// Moves together with others, so that this job gets nodes of its own.
    MakesRoom { to: JobIndex },
    /// Not worth devices now, in these words.
    Paused(&'static str),
    /// Can never run, in these words.
    Impossible(String),
}

impl Reason {
    /// For people, with the names that jobs have in `state`.
    pub fn in_words(&self, state: &State) -> String {
        let name = |index: &JobIndex| &state.job(*index).spec.id;
        match self {
            Reason::Next => "next in line, and its devices are free".to_owned(),
            Reason::Ahead { of } => format!("fits into what job `{}` ahead of it cannot use", name(of)),
            Reason::Overtaken => "jobs before it in line take its devices".to_owned(),
            Reason::Yields { to } => {
                format!("job `{}` is of a higher class and takes its devices", name(to))
            }
            Reason::Resized { from, to } => format!("{to} devices are worth more than {from}"),
            Reason::MakesRoom { to } => format!("moves so that job `{}` lies on fewer nodes", name(to)),
            Reason::Paused(why) => (*why).to_owned(),
            Reason::Impossible(why) => why.clone(),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    Refuse,
    Start(Allocation),
    Stop,
    /// Stop and start at once on other devices.
    Move(Allocation),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    pub job: JobIndex,
    pub action: Action,
    pub reason: Reason,
}

/// What a job should have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Want {
    pub devices: u32,
    /// On which of its pools.
    pub pools: PoolSet,
}

/// Decides whether a job may wait.
pub trait Admit: fmt::Debug {
    /// # Errors
    /// Why the job can never run, with the largest request that could.
    fn admit(&self, state: &State, job: &Job) -> Result<(), String>;
}

/// Decides who is looked at first.
pub trait Order: fmt::Debug {
    fn key(&self, state: &State, job: &Job) -> Key;

    fn refresh(&self) -> Refresh {
        Refresh::Running
    }

    /// Called before each decision.
    fn prepare(&mut self, _state: &State) {}

    /// When a running job's place in line may change by itself.
    fn next_change(&self, _state: &State) -> Option<Time> {
        None
    }
}

/// Decides how many devices a job gets, and on which of its pools.
pub trait Size: fmt::Debug {
    /// Whether the sizes of all jobs are decided together. Then running jobs are resized and paused as well.
    fn is_joint(&self) -> bool {
        false
    }

    /// Whether jobs may get another number of devices than they ask for. Otherwise a simulation holds them to their
    /// requests: they do not tune their batch either.
    fn is_elastic(&self) -> bool {
        false
    }

    /// Called before each joint decision, with the jobs that wait or run in their order, and the pools that each may use
    /// now.
    fn prepare(&mut self, _state: &State, _active: &[(JobIndex, PoolSet)]) {}

    /// When a joint decision may change by itself.
    fn next_change(&self, _state: &State) -> Option<Time> {
        None
    }

    /// # Errors
    /// Why the job gets nothing now.
    fn size(&self, state: &State, index: JobIndex, job: &Job) -> Result<Want, &'static str>;
}

/// Decides which nodes.
pub trait Place: fmt::Debug {
    /// Devices out of `free`, or none if there is no such place. Equal requests fail alike: the walk does not ask twice.
    fn place(&mut self, state: &State, free: &Free, job: &Job, want: &Want) -> Option<Allocation>;

    /// In a joint decision: those of `keep`, which stay where they are otherwise, that should make room for `want`. They
    /// are placed anew after it.
    fn make_room(&self, _state: &State, _free: &Free, _keep: &[JobIndex], _want: &Want) -> Vec<JobIndex> {
        Vec::new()
    }
}

/// Decides on which terms devices are held.
pub trait Mode: fmt::Debug {
    /// Called before each decision.
    fn prepare(&mut self, _state: &State) {}

    /// Those of the job's pools that may be used now; none: it waits.
    fn pools(&self, state: &State, index: JobIndex, job: &Job) -> PoolSet;

    /// When the answer may change by itself.
    fn next_change(&self, _state: &State) -> Option<Time> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_keep_the_order_of_numbers() {
        let numbers = [f64::NEG_INFINITY, -2.5, -1e-300, 0.0, 1e-300, 3.0, f64::INFINITY];
        let keys: Vec<Key> = numbers.iter().map(|number| Key::from_f64(*number)).collect();
        assert!(keys.is_sorted_by(|a, b| a < b), "{keys:?}");
        assert!(Key::from_f64(f64::NAN) > Key::from_f64(f64::INFINITY));
    }
}
