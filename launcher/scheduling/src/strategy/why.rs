//! Why a job is where it is: one dominant reason with its numbers, and what comes next.

use std::fmt;

use hcrun_protocol::time::{Span, Time};
use serde::Serialize;

use super::walk::{Placed, place_waiting};
use super::{Discipline, Strategy, Want};
use crate::fleet::{PoolIndex, PoolSet};
use crate::job::JobIndex;
use crate::state::{Job, Phase, State};

/// The answer of `hcrun why`, in simulation and live.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Why {
    pub job: String,
    pub strategy: &'static str,
    pub at_s: f64,
    #[serde(flatten)]
    pub answer: Answer,
    /// Place in line among those that wait; from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub position: Option<usize>,
    pub waiting: usize,
    /// What each pool has for the job.
    pub pools: Vec<PoolView>,
    /// When enough devices are expected to be free, by the estimates of what runs; others in line may take them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enough_free: Option<EnoughFree>,
}

/// The one dominant reason.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "answer", rename_all = "kebab-case")]
pub enum Answer {
    NotSubmitted {
        submit_s: f64,
    },
    Runs {
        since_s: f64,
        devices: u32,
        starts: u32,
    },
    Done {
        at_s: f64,
    },
    /// It can never run.
    Refused {
        because: String,
    },
    /// Its strategy gives it nothing now.
    Paused {
        because: String,
    },
    /// Pools that could run it are not to be used now, or are gone.
    NoPool,
    /// Fewer devices are there than it needs.
    TooFewUp {
        need: u32,
        up: u64,
    },
    /// Fewer devices are free than it needs.
    TooFewFree {
        need: u32,
        free: u64,
        /// Where the job names how many of which pool.
        #[serde(skip_serializing_if = "Option::is_none")]
        pool: Option<String>,
        holders: Vec<Holder>,
    },
    /// Enough devices are free, but not where a gang of this size may be placed.
    Scattered {
        need: u32,
        free: u64,
    },
    /// It fits, but a job ahead of it does not, and nobody goes before the head of the line.
    Behind {
        head: String,
        head_needs: u32,
    },
    /// It fits and is started at the next decision.
    Next,
}

/// Who holds devices that the job could use.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Holder {
    pub job: String,
    pub devices: u32,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PoolView {
    pub pool: String,
    pub zone: String,
    pub free: u64,
    pub up: u64,
    /// Why the job cannot have it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub excluded: Option<&'static str>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EnoughFree {
    pub in_s: f64,
    /// The last job whose devices are needed.
    pub after: String,
}

/// Holders that are named.
const MAX_HOLDERS: usize = 5;

impl Strategy {
    /// Why `index` is where it is. Decides nothing.
    pub fn why(&mut self, state: &State, index: JobIndex) -> Why {
        let job = state.job(index);
        // A job that is still to come has not been told its pools yet.
        let allowed_pools = match job.phase {
            Phase::Future => job.spec.allowed_pools(&state.fleet).unwrap_or(PoolSet::NONE),
            _ => job.pools,
        };
        let want = self.size.size(state, index, job);
        let allowed = want.map(|want| Want { pools: want.pools.and(job.pools), ..want });
        let usable =
            allowed.map(|want| Want { pools: want.pools.and(self.mode.pools(state, index, job)), ..want });
        let answer = match (job.phase, usable) {
            (Phase::Future, _) => Answer::NotSubmitted { submit_s: seconds(job.spec.submit) },
            (Phase::Running, _) => {
                let (since_s, devices) = (seconds(job.since), job.allocation.devices());
                Answer::Runs { since_s, devices, starts: job.starts }
            }
            (Phase::Done, _) => Answer::Done { at_s: seconds(job.ended.unwrap_or(state.now())) },
            (Phase::Refused, _) => {
                let because =
                    self.admit.admit(state, job).err().unwrap_or_else(|| "it was withdrawn".to_owned());
                Answer::Refused { because }
            }
            (Phase::Waiting, Err(because)) => Answer::Paused { because: because.to_owned() },
            (Phase::Waiting, Ok(want)) => self.why_waiting(state, index, want),
        };
        let waits = job.phase == Phase::Waiting;
        Why {
            job: job.spec.id.clone(),
            strategy: self.name,
            at_s: seconds(state.now()),
            answer,
            position: waits
                .then(|| self.line(state).iter().position(|other| *other == index).unwrap_or(0) + 1),
            waiting: state.waiting_count(),
            pools: pool_views(state, allowed_pools, usable.ok().filter(|_| waits)),
            enough_free: usable.ok().filter(|_| waits).and_then(|want| enough_free(state, job, want)),
        }
    }

    fn why_waiting(&mut self, state: &State, index: JobIndex, want: Want) -> Answer {
        if want.pools.is_empty() {
            return Answer::NoPool;
        }
        for (pool, need) in &state.job(index).spec.parts {
            let want = Want { devices: *need, pools: PoolSet::from_iter([*pool]) };
            let free = state.free().in_pool(*pool);
            if free < u64::from(*need) {
                let pool = Some(state.fleet.pool(*pool).name.clone());
                return Answer::TooFewFree { need: *need, free, pool, holders: holders(state, want) };
            }
        }
        let (need, up) = (want.devices, state.capacity().in_pools(want.pools));
        if up < u64::from(need) {
            return Answer::TooFewUp { need, up };
        }
        let free = state.free().in_pools(want.pools);
        let placed = place_waiting(&*self.size, &*self.mode, &mut *self.place, state, state.free(), index);
        match placed {
            Placed::At(_) => match self.line(state).first().filter(|head| **head != index) {
                Some(head) if self.discipline == Discipline::Strict => {
                    let head = &state.job(*head).spec;
                    Answer::Behind { head: head.id.clone(), head_needs: head.devices.requested }
                }
                _ => Answer::Next,
            },
            _ if free < u64::from(need) => {
                Answer::TooFewFree { need, free, pool: None, holders: holders(state, want) }
            }
            _ => Answer::Scattered { need, free },
        }
    }

    /// Those that wait, first in line first.
    fn line(&self, state: &State) -> Vec<JobIndex> {
        let waiting = (0..).map(JobIndex).zip(state.jobs()).filter(|(_, job)| job.phase == Phase::Waiting);
        let mut line: Vec<_> = waiting.map(|(index, job)| (self.order.key(state, job), index)).collect();
        line.sort_unstable();
        line.into_iter().map(|(_, index)| index).collect()
    }
}

/// Devices of a job in the pools wanted.
fn held_in(state: &State, job: &Job, want: Want) -> u32 {
    let parts = job.allocation.parts().iter();
    parts.filter(|(node, _)| want.pools.contains(state.fleet.node(*node).pool)).map(|part| part.1).sum()
}

fn holders(state: &State, want: Want) -> Vec<Holder> {
    let held = state.running().map(|index| (held_in(state, state.job(index), want), index));
    let mut held: Vec<_> = held.filter(|(devices, _)| *devices > 0).collect();
    held.sort_by_key(|(devices, index)| (std::cmp::Reverse(*devices), *index));
    held.truncate(MAX_HOLDERS);
    held.into_iter()
        .map(|(devices, index)| Holder { job: state.job(index).spec.id.clone(), devices })
        .collect()
}

fn pool_views(state: &State, allowed: PoolSet, usable: Option<Want>) -> Vec<PoolView> {
    let fleet = &state.fleet;
    let excluded = |index: PoolIndex| match usable {
        _ if !allowed.contains(index) => {
            Some("its zone may not hold the job's data, or its devices are of another model")
        }
        Some(want) if !want.pools.contains(index) => Some("not to be used on these terms now"),
        _ => None,
    };
    let view = |index: PoolIndex| PoolView {
        pool: fleet.pool(index).name.clone(),
        zone: fleet.zone(fleet.pool(index).zone).name.to_string(),
        free: state.free().in_pool(index),
        up: state.capacity().in_pool(index),
        excluded: excluded(index),
    };
    fleet.pool_indices().map(view).collect()
}

/// When each part of what it wants can be had.
fn enough_free(state: &State, job: &Job, want: Want) -> Option<EnoughFree> {
    let part =
        |(pool, devices): &(PoolIndex, u32)| Want { devices: *devices, pools: PoolSet::from_iter([*pool]) };
    let parts: Vec<Want> = match &job.spec.parts[..] {
        [] => vec![want],
        parts => parts.iter().map(part).collect(),
    };
    let missing =
        parts.into_iter().filter(|part| state.free().in_pools(part.pools) < u64::from(part.devices));
    let ends: Option<Vec<(Span, JobIndex)>> = missing.map(|part| last_needed(state, part)).collect();
    let (left, index) = ends?.into_iter().max()?;
    Some(EnoughFree { in_s: left.as_secs_f64(), after: state.job(index).spec.id.clone() })
}

/// The job with whose end enough is free, and how long that takes.
fn last_needed(state: &State, want: Want) -> Option<(Span, JobIndex)> {
    let mut free = state.free().in_pools(want.pools);
    let ends = state.running().map(|index| {
        let job = state.job(index);
        (job.estimated_left(state.now()).time_at(job.rate()), index)
    });
    let mut ends: Vec<(Span, JobIndex)> = ends.collect();
    ends.sort_unstable();
    ends.into_iter().find(|(left, index)| {
        free += u64::from(held_in(state, state.job(*index), want));
        free >= u64::from(want.devices) && *left != Span(u64::MAX)
    })
}

fn seconds(time: Time) -> f64 {
    time.0 as f64 / 1e6
}

fn devices(count: u32) -> String {
    format!("{count} device{}", if count == 1 { "" } else { "s" })
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Answer::NotSubmitted { submit_s } => write!(f, "it is not submitted until {submit_s:.0} s"),
            Answer::Runs { since_s, devices, starts } => {
                write!(f, "it runs on {devices} devices since {since_s:.0} s (start {starts})")
            }
            Answer::Done { at_s } => write!(f, "it was done at {at_s:.0} s"),
            Answer::Refused { because } => write!(f, "it was refused: {because}"),
            Answer::Paused { because } => write!(f, "it gets no devices now: {because}"),
            Answer::NoPool => f.write_str("no pool that may run it is to be used now"),
            Answer::TooFewUp { need, up } => {
                write!(f, "it needs {need} devices, and only {up} that may run it are there at all")
            }
            Answer::TooFewFree { need, free, pool: None, .. } => {
                write!(f, "it needs {}, and {free} that may run it are free", devices(*need))
            }
            Answer::TooFewFree { need, free, pool: Some(pool), .. } => {
                write!(f, "it needs {} of pool `{pool}`, of which {free} are free", devices(*need))
            }
            Answer::Scattered { need, free } => {
                write!(
                    f,
                    "{free} devices that may run it are free, but not {need} where a gang may be placed together"
                )
            }
            Answer::Behind { head, head_needs } => write!(
                f,
                "it fits, but job `{head}` is first in line, needs {head_needs} devices, and nobody goes before it"
            ),
            Answer::Next => f.write_str("it is started at the next decision"),
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "job `{}` under {}: {}", self.job, self.strategy, self.answer)?;
        if let Some(position) = self.position {
            writeln!(f, "  in line: {position} of {}", self.waiting)?;
        }
        if let Answer::TooFewFree { holders, .. } = &self.answer {
            let held: Vec<String> =
                holders.iter().map(|held| format!("`{}` {}", held.job, held.devices)).collect();
            writeln!(f, "  held by: {}", held.join(", "))?;
        }
        for PoolView { pool, zone, free, up, excluded } in &self.pools {
            let excluded = excluded.map(|why| format!("; excluded: {why}")).unwrap_or_default();
            writeln!(f, "  pool `{pool}` in zone `{zone}`: {free} of {up} free{excluded}")?;
        }
        match &self.enough_free {
            Some(enough) => write!(f, "  {enough}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for EnoughFree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let EnoughFree { in_s, after } = self;
        write!(
            f,
            "next: by the estimates enough devices are free in {in_s:.0} s, when job `{after}` ends; jobs before it in line may \
             take them"
        )
    }
}
