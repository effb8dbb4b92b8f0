//! What a job may get, and what each of it is worth and costs.

use hcrun_protocol::time::Span;

use super::{Choice, Configurations};
use crate::fleet::PoolSet;
use crate::job::{Class, JobIndex};
use crate::state::{Job, Phase, State};
use crate::strategy::Want;

/// One configuration as a strategy values it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Offer {
    pub choice: Choice,
    pub worth: f64,
    /// Above zero.
    pub cost: f64,
}

/// One job in a joint decision.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Claim {
    pub index: JobIndex,
    pub offers: Vec<Offer>,
    /// Worth of no devices at all.
    pub nothing: f64,
    /// Which of the offers it gets.
    pub granted: Option<usize>,
}

/// What all jobs claim that may run now, in their order, and what there is for them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Claims {
    pub claims: Vec<Claim>,
    /// Devices by pool, without those of pinned jobs.
    pub open: Vec<u64>,
    pinned: Grants,
}

impl Claims {
    pub(crate) fn new(
        configurations: &mut Configurations,
        state: &State,
        active: &[(JobIndex, PoolSet)],
        mut claim: impl FnMut(JobIndex, &Job, &[Choice]) -> Claim,
    ) -> Claims {
        let open = state.fleet.pool_indices().map(|pool| state.capacity().in_pool(pool)).collect();
        let mut all = Claims { claims: Vec::with_capacity(active.len()), open, pinned: Grants::default() };
        for (index, pools) in active {
            let job = state.job(*index);
            if is_pinned(job) {
                all.pin(state, *index, job);
                continue;
            }
            let choices = configurations.of(state, *index, job, *pools);
            if !choices.is_empty() {
                all.claims.push(claim(*index, job, choices));
            }
        }
        all
    }

    fn pin(&mut self, state: &State, index: JobIndex, job: &Job) {
        let mut pools = PoolSet::NONE;
        for (node, devices) in job.allocation.parts() {
            let pool = state.fleet.node(*node).pool;
            self.open[pool.index()] = self.open[pool.index()].saturating_sub(u64::from(*devices));
            pools.insert(pool);
        }
        self.pinned.0.push((index, Want { devices: job.allocation.devices(), pools }));
    }

    pub(crate) fn grants(self) -> Grants {
        let mut grants = self.pinned.0;
        for claim in &self.claims {
            if let Some(granted) = claim.granted {
                let Choice { pool, devices, .. } = claim.offers[granted].choice;
                grants.push((claim.index, Want { devices, pools: [pool].into_iter().collect() }));
            }
        }
        grants.sort_unstable_by_key(|(index, _)| *index);
        Grants(grants)
    }
}

/// Whether a job keeps the devices that it has, whatever they would be worth to others.
pub(crate) fn is_pinned(job: &Job) -> bool {
    job.phase == Phase::Running && (!job.spec.preemptible || job.spec.class == Class::Guaranteed)
}

/// Whether the job has just these devices already.
pub(crate) fn holds(state: &State, job: &Job, choice: &Choice) -> bool {
    job.phase == Phase::Running
        && job.allocation.devices() == choice.devices
        && job.allocation.parts().iter().all(|(node, _)| state.fleet.node(*node).pool == choice.pool)
}

/// No start is for nothing: jobs would be moved for differences that do not matter.
const LEAST_START: Span = Span::from_secs(1);

/// How much of its time a job has computed, if it starts once more now: (T - N S) / (T + S) for an age of T with N
/// starts at S each (Sia). Jobs that have moved often move less. One that waits has nothing to lose.
pub(crate) fn restart_factor(state: &State, job: &Job) -> f64 {
    if job.phase != Phase::Running {
        return 1.0;
    }
    let age = state.now().since(job.spec.submit).as_secs_f64();
    let delay = job.spec.start_overhead.max(LEAST_START).as_secs_f64();
    ((age - f64::from(job.starts) * delay) / (age + delay)).clamp(0.0, 1.0)
}

/// The part of `horizon` that is left to compute in after a start.
pub(crate) fn left_of(horizon: Span, job: &Job) -> f64 {
    let start = job.spec.start_overhead.max(LEAST_START);
    // However long a start takes, devices are worth more to a job than none.
    (horizon.saturating_sub(start).as_secs_f64() / horizon.as_secs_f64().max(1e-6)).max(0.01)
}

/// What a joint decision granted, by job.
#[derive(Debug, Clone, Default)]
pub(crate) struct Grants(Vec<(JobIndex, Want)>);

impl Grants {
    pub(crate) fn want(&self, index: JobIndex) -> Result<Want, &'static str> {
        let found = self.0.binary_search_by_key(&index, |(index, _)| *index);
        found.map(|found| self.0[found].1).map_err(|_| "its devices are worth more to other jobs")
    }
}
