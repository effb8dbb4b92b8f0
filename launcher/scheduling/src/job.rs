//! What a job asks for, as a trace or a job file states it.

use std::fmt;
use std::sync::Arc;

use hcrun_protocol::job::Shard;
use hcrun_protocol::residency::{ResidencyError, allowed_zones};
use hcrun_protocol::time::{Span, Time};

use crate::costs::Exchange;
use crate::fleet::{Fleet, Kind, Pool, PoolIndex, PoolSet};
use crate::work::{Rate, Work};

/// A job's place in its [`Workload`]: by submission, then by row. Ties are broken by it everywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobIndex(pub u32);

impl JobIndex {
    pub fn index(self) -> usize {
        self.0 as usize
    }

    pub fn from_index(index: usize) -> JobIndex {
        JobIndex(u32::try_from(index).expect("fewer jobs than MAX_JOBS"))
    }
}

/// How many devices a job runs on. A rigid job has one number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceRange {
    pub min: u32,
    pub requested: u32,
    pub max: u32,
}

impl DeviceRange {
    pub fn rigid(devices: u32) -> DeviceRange {
        DeviceRange { min: devices, requested: devices, max: devices }
    }
}

/// Who may take devices away from whom.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// Runs on what nobody else wants.
    Opportunistic,
    #[default]
    Normal,
    /// Not preempted by anybody.
    Guaranteed,
}

impl Class {
    pub const ALL: [Class; 3] = [Class::Opportunistic, Class::Normal, Class::Guaranteed];

    pub fn name(self) -> &'static str {
        match self {
            Class::Opportunistic => "opportunistic",
            Class::Normal => "normal",
            Class::Guaranteed => "guaranteed",
        }
    }

    pub fn parse(name: &str) -> Option<Class> {
        Class::ALL.into_iter().find(|class| class.name() == name)
    }
}

/// The devices a job got, as its speed depends on them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Shape {
    pub kind: Kind,
    /// Devices on each node, most first.
    pub per_node: Vec<u32>,
}

impl Shape {
    pub fn devices(&self) -> u32 {
        self.per_node.iter().sum()
    }
}

/// A stretch of a job's course at one speed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch {
    pub rate: Rate,
    /// Work at which the speed may change; none: never.
    pub until: Option<Work>,
}

/// How fast a job is on which devices, possibly changing as it goes on.
pub trait Speed: fmt::Debug + Send + Sync {
    fn stretch(&self, done: Work, shape: &Shape) -> Stretch;

    /// The speed with everything as the job's owner set it, where it tunes itself otherwise.
    fn as_requested(&self) -> Option<Arc<dyn Speed>> {
        None
    }
}

/// One row of a trace. Times are counted from the trace's start.
#[derive(Debug, Clone)]
#[repr(C)]
pub struct JobSpec {
    /// What there is to do. Strategies see [`Self::estimate`] instead.
    pub work: Work,
    pub estimate: Work,
    pub devices: DeviceRange,
    pub submit: Time,
    pub id: String,
    /// None: [`Rate::ONE`] on the requested devices, wherever they are.
    pub speed: Option<Arc<dyn Speed>>,
    /// From getting devices to the first step, at each start.
    pub start_overhead: Span,
    /// From being told to stop to giving its devices back.
    pub stop_overhead: Span,
    /// Work since the last checkpoint is lost with a node; zero: a checkpoint at every instant.
    pub checkpoint_interval: Span,
    /// Names the model, where a trace does.
    pub model: String,
    pub tenant: String,
    pub class: Class,
    /// Share of this job beside others of its class.
    pub weight: f64,
    pub deadline: Option<Time>,
    /// When its owner takes it out, however far it has come; none: it runs to its end.
    pub leaves: Option<Time>,
    pub preemptible: bool,
    /// What it reads; each of its workers must be where all of them may be held.
    pub shards: Vec<Shard>,
    /// Device models it runs on, by name; empty: all.
    pub kinds: Vec<String>,
    /// What its workers exchange; none: not known, and then not paid for.
    pub exchange: Option<Exchange>,
    /// Of one checkpoint; it goes to the home of the shards.
    pub checkpoint_bytes: u64,
    /// Of all its shards together; they are in the home of the first one that has a home.
    pub data_bytes: u64,
    /// Exactly these devices of each pool; empty: devices of any of its pools.
    pub parts: Vec<(PoolIndex, u32)>,
}

impl JobSpec {
    /// A gang of `devices` that runs for `duration` once it has them.
    pub fn rigid(id: impl Into<String>, submit: Time, devices: u32, duration: Span) -> JobSpec {
        let work = Work::taking(duration);
        JobSpec {
            id: id.into(),
            submit,
            devices: DeviceRange::rigid(devices),
            work,
            estimate: work,
            speed: None,
            start_overhead: Span(0),
            stop_overhead: Span(0),
            checkpoint_interval: Span(0),
            model: String::new(),
            tenant: String::new(),
            class: Class::Normal,
            weight: 1.0,
            deadline: None,
            leaves: None,
            preemptible: true,
            shards: Vec::new(),
            kinds: Vec::new(),
            exchange: None,
            checkpoint_bytes: 0,
            data_bytes: 0,
            parts: Vec::new(),
        }
    }

    /// As [`Self::rigid`], on exactly these devices of each pool.
    pub fn in_parts(
        id: impl Into<String>,
        submit: Time,
        parts: Vec<(PoolIndex, u32)>,
        duration: Span,
    ) -> JobSpec {
        let devices = parts.iter().map(|part| part.1).sum();
        JobSpec { parts, ..JobSpec::rigid(id, submit, devices, duration) }
    }

    /// Whether anything is known of what it sends: without that its egress is unknown, not nothing.
    pub fn names_bytes(&self) -> bool {
        self.exchange.is_some() || self.checkpoint_bytes > 0 || self.data_bytes > 0
    }

    /// The same job, submitted at another time; its deadline and its leave move with it.
    #[must_use]
    pub fn arriving(&self, submit: Time) -> JobSpec {
        let mut job = self.clone();
        let moved = |time: Time| submit + time.since(job.submit);
        (job.deadline, job.leaves) = (job.deadline.map(moved), job.leaves.map(moved));
        job.submit = submit;
        job
    }

    /// The pools that may run it: those of zones that may hold its data, with devices it can use. This is a hard
    /// limit; nothing weighs against it.
    ///
    /// # Errors
    /// If the rule of a shard makes no sense in this fleet.
    pub fn allowed_pools(&self, fleet: &Fleet) -> Result<PoolSet, ResidencyError> {
        let zones = self.shards.iter().map(|shard| allowed_zones(shard, &fleet.zones));
        let zones = zones.collect::<Result<Vec<_>, _>>()?;
        let allowed = |pool: &Pool| {
            let zone = &fleet.zone(pool.zone).name;
            let usable = self.kinds.is_empty() || self.kinds.contains(&fleet.kinds[pool.kind.index()]);
            usable && zones.iter().all(|zones| zones.contains(zone))
        };
        let named =
            |index: &PoolIndex| self.parts.is_empty() || self.parts.iter().any(|(pool, _)| pool == index);
        Ok(fleet.pool_indices().filter(|index| named(index) && allowed(fleet.pool(*index))).collect())
    }
}

/// Most jobs of one workload.
pub const MAX_JOBS: usize = 4 << 20;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WorkloadError {
    #[error("there are no jobs")]
    Empty,
    #[error("there are {0} jobs, {MAX_JOBS} is the most")]
    TooMany(usize),
    #[error("row {row}: job `{id}` is there twice, first in row {first}")]
    Duplicate { row: usize, first: usize, id: String },
    #[error(
        "row {row}: job `{id}` asks for {asked} devices: there must be at least one, and min <= requested <= max"
    )]
    Devices { row: usize, id: String, asked: String },
}

/// The jobs of a trace, by submission, then by row.
#[derive(Debug, Clone, Default)]
pub struct Workload {
    jobs: Vec<JobSpec>,
}

impl Workload {
    /// Sorts rows by submission; rows of one instant keep their order.
    ///
    /// # Errors
    /// If there are none or too many, if two share an id, or if one asks for no devices. Rows count from 1.
    pub fn new(mut jobs: Vec<JobSpec>) -> Result<Workload, WorkloadError> {
        if jobs.is_empty() {
            return Err(WorkloadError::Empty);
        }
        if jobs.len() > MAX_JOBS {
            return Err(WorkloadError::TooMany(jobs.len()));
        }
        let mut by_id: Vec<(&str, usize)> =
            jobs.iter().zip(1..).map(|(job, row)| (job.id.as_str(), row)).collect();
        by_id.sort_unstable();
        let twice = by_id.windows(2).filter(|pair| pair[0].0 == pair[1].0);
        if let Some(pair) = twice.min_by_key(|pair| pair[1].1) {
            let ((id, first), (_, row)) = (pair[0], pair[1]);
            return Err(WorkloadError::Duplicate { row, first, id: id.to_owned() });
        }
        for (job, row) in jobs.iter().zip(1..) {
            let DeviceRange { min, requested, max } = job.devices;
            if min == 0 || requested < min || max < requested {
                let asked = format!("{min}..{requested}..{max}");
                return Err(WorkloadError::Devices { row, id: job.id.clone(), asked });
            }
        }
        jobs.sort_by_key(|job| job.submit);
        Ok(Workload { jobs })
    }

    pub fn jobs(&self) -> &[JobSpec] {
        &self.jobs
    }

    pub fn jobs_mut(&mut self) -> impl Iterator<Item = &mut JobSpec> {
        self.jobs.iter_mut()
    }

    /// Holds all jobs to what their owners asked for: no other number of devices, nothing tuned.
    pub fn hold_to_requests(&mut self) {
        for job in &mut self.jobs {
            job.devices = DeviceRange::rigid(job.devices.requested);
            let requested = job.speed.as_ref().and_then(|speed| speed.as_requested());
            job.speed = requested.or(job.speed.take());
        }
    }

    pub fn into_jobs(self) -> Vec<JobSpec> {
        self.jobs
    }

    pub fn len(&self) -> usize {
        self.jobs.len()
    }

    pub fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }
}
