//! Chooses the pools of one job by a strategy, and says what spoke against all others.
//!
//! The strategy decides as it does for a queue: the job is the only one that waits on an empty fleet. What it chooses has to
//! pass [`super::plan`], which knows the rules of residency and of sums; else the best of what passes is taken.

use std::collections::BTreeMap;
use std::sync::Arc;

use hcrun_protocol::PoolId;
use hcrun_protocol::cluster::MAX_WORKERS;
use hcrun_protocol::job::{Job, Shard};
use hcrun_protocol::plan::{Plan, Traffic};
use hcrun_protocol::residency::allowed_zones;
use hcrun_protocol::time::{Span, Time};
use serde::Serialize;

use super::{Constraint, Infeasible, Inputs, plan};
use crate::fleet::Fleet;
use crate::job::{JobIndex, JobSpec, Workload};
use crate::state::State;
use crate::strategies;
use crate::strategy::Action;

/// Workers by pool.
pub type Workers = BTreeMap<PoolId, u16>;

/// What was chosen, and against what.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Choice {
    pub strategy: &'static str,
    pub workers: Workers,
    pub because: String,
    pub rejected: Vec<Rejected>,
    /// What would have to be different for another choice.
    pub would_change: Vec<String>,
}

/// Another distribution of the workers, with the one reason that binds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Rejected {
    pub workers: Workers,
    pub because: String,
    /// Of all workers together; none without prices.
    pub usd_per_hour: Option<f64>,
    /// Across zone borders; none if it is infeasible.
    pub bytes_per_step: Option<u64>,
}

/// Distributions that are looked at.
const MAX_CANDIDATES: usize = 64;

struct Candidate {
    workers: Workers,
    plan: Result<Plan, Infeasible>,
}

/// Distributes `count` workers over the pools of the cluster. The job's own distribution is one of the candidates.
///
/// # Errors
/// If no distribution is feasible: what binds the one that the strategy would have chosen.
pub fn choose(inputs: &Inputs<'_>, strategy: &str, count: usize) -> Result<Choice, Infeasible> {
    let about = strategies::ALL.iter().find(|about| about.name == strategy);
    let about = about.ok_or_else(|| Constraint::UnknownStrategy(strategy.to_owned()))?;
    if count == 0 {
        return Err(Constraint::NoWorkers.into());
    }
    if count > MAX_WORKERS {
        return Err(Constraint::TooManyWorkers { wanted: count, limit: MAX_WORKERS }.into());
    }
    let preferred = by_strategy(inputs, about.name, count)?;
    let mut distributions = vec![preferred.0.clone()];
    distributions.extend(others(inputs, count));
    let mut candidates: Vec<Candidate> = Vec::new();
    for workers in distributions {
        if candidates.iter().all(|other| other.workers != workers) && candidates.len() < MAX_CANDIDATES {
            let job = Job { workers: workers.clone(), ..inputs.job.clone() };
            let plan = plan(&Inputs { job: &job, ..*inputs });
            candidates.push(Candidate { workers, plan });
        }
    }
    let chosen = match &candidates[0].plan {
        Ok(_) => 0,
        Err(infeasible) => best(&candidates).ok_or_else(|| infeasible.clone())?,
    };
    Ok(explain(about.name, &preferred.1, &candidates, chosen))
}

/// What the strategy does with the job alone on the empty fleet, and its reason.
fn by_strategy(inputs: &Inputs<'_>, name: &str, count: usize) -> Result<(Workers, String), Infeasible> {
    let fleet = Fleet::of(inputs.cluster).map_err(|error| Constraint::Fleet(error.to_string()))?;
    let devices = u32::try_from(count).expect("at most MAX_WORKERS");
    let mut job = JobSpec::rigid(inputs.job.name.clone(), Time::ZERO, devices, Span::from_secs(3_600));
    // A worker is of use wherever it may hold one of the shards.
    job.shards = most_movable(inputs).into_iter().cloned().collect();
    let workload = Workload::new(vec![job]).map_err(|error| Constraint::Fleet(error.to_string()))?;
    let mut state = State::new(Arc::new(fleet), workload);
    state.submit(JobIndex(0));
    let mut strategy = strategies::by_name(name).expect("the caller found it");
    let mut refusal = "it gives it no devices".to_owned();
    for decision in strategy.decide(&state) {
        match decision.action {
            Action::Start(allocation) | Action::Move(allocation) => {
                let mut workers = Workers::new();
                for (node, devices) in allocation.parts() {
                    let pool = &inputs.cluster.pools[state.fleet.node(*node).pool.index()];
                    *workers.entry(pool.name.clone()).or_default() +=
                        u16::try_from(*devices).unwrap_or(u16::MAX);
                }
                return Ok((workers, decision.reason.in_words(&state)));
            }
            _ => refusal = decision.reason.in_words(&state),
        }
    }
    Err(Constraint::StrategyRefuses { strategy: name.to_owned(), workers: count, why: refusal }.into())
}

fn most_movable<'a>(inputs: &Inputs<'a>) -> Option<&'a Shard> {
    let zones = |shard: &Shard| allowed_zones(shard, &inputs.cluster.zones).map_or(0, |zones| zones.len());
    inputs.job.shards.iter().rev().max_by_key(|shard| zones(shard))
}

/// The job's own distribution, each pool alone, then pairs of pools.
fn others(inputs: &Inputs<'_>, count: usize) -> Vec<Workers> {
    let pools = &inputs.cluster.pools;
    let count = u16::try_from(count).expect("at most MAX_WORKERS");
    let asked = inputs.job.workers.values().map(|workers| usize::from(*workers)).sum::<usize>();
    let mut all: Vec<Workers> = Vec::new();
    all.extend((asked == usize::from(count)).then(|| inputs.job.workers.clone()));
    all.extend(pools.iter().map(|pool| Workers::from([(pool.name.clone(), count)])));
    let step = count.div_ceil(8).max(1);
    for (index, first) in pools.iter().enumerate() {
        for second in &pools[index + 1..] {
            for part in (step..count).step_by(usize::from(step)) {
                all.push(Workers::from([(first.name.clone(), part), (second.name.clone(), count - part)]));
            }
        }
    }
    all
}

/// Cheapest, then fewest bytes across borders, then fewest pools; by price only where all have one.
fn best(candidates: &[Candidate]) -> Option<usize> {
    let feasible = candidates.iter().enumerate().filter_map(|(index, candidate)| {
        candidate.plan.as_ref().ok().map(|plan| (index, plan, candidate.workers.len()))
    });
    let feasible: Vec<_> = feasible.collect();
    let priced = feasible.iter().all(|(_, plan, _)| plan.price.is_some());
    let rank =
        |plan: &Plan| (if priced { usd_per_hour(plan).unwrap_or(0.0) } else { 0.0 }, bytes_per_step(plan));
    let order = |a: &(usize, &Plan, usize), b: &(usize, &Plan, usize)| {
        let ((usd_a, bytes_a), (usd_b, bytes_b)) = (rank(a.1), rank(b.1));
        usd_a.total_cmp(&usd_b).then(bytes_a.cmp(&bytes_b)).then(a.2.cmp(&b.2)).then(a.0.cmp(&b.0))
    };
    feasible.into_iter().min_by(order).map(|(index, ..)| index)
}

fn explain(strategy: &'static str, reason: &str, candidates: &[Candidate], chosen: usize) -> Choice {
    let plan = candidates[chosen].plan.as_ref().expect("the choice is feasible");
    let because = match &candidates[0].plan {
        Ok(_) => format!("{strategy} places it there: {reason}"),
        Err(infeasible) => format!(
            "{strategy} would take {}, but {}; of what is feasible this {}",
            words(&candidates[0].workers),
            infeasible.binding[0],
            if plan.price.is_some() { "costs least" } else { "sends least across borders" },
        ),
    };
    let rejected =
        candidates.iter().enumerate().filter(|(index, _)| *index != chosen).map(|(_, candidate)| {
            let because = match &candidate.plan {
                Err(infeasible) => infeasible.binding[0].to_string(),
                Ok(other) => worse(strategy, other, plan),
            };
            let feasible = candidate.plan.as_ref().ok();
            Rejected {
                workers: candidate.workers.clone(),
                because,
                usd_per_hour: feasible.and_then(usd_per_hour),
                bytes_per_step: feasible.map(bytes_per_step),
            }
        });
    let rejected: Vec<Rejected> = rejected.collect();
    let would_change = would_change(candidates, chosen, plan);
    Choice { strategy, workers: candidates[chosen].workers.clone(), because, rejected, would_change }
}

/// Why a feasible distribution was not chosen.
fn worse(strategy: &str, other: &Plan, chosen: &Plan) -> String {
    let (bytes, fewer) = (bytes_per_step(other), bytes_per_step(chosen));
    match (usd_per_hour(other), usd_per_hour(chosen)) {
        (Some(usd), Some(less)) if usd > less => format!("costs {usd:.2} USD per hour, the choice {less:.2}"),
        _ if bytes > fewer => format!("sends {bytes} bytes per step across borders, the choice {fewer}"),
        (Some(less), Some(usd)) if less < usd => {
            format!("costs {less:.2} USD per hour instead of {usd:.2}, but {strategy} does not weigh prices")
        }
        _ => format!("is no cheaper and sends no less; {strategy} takes the other first"),
    }
}

fn would_change(candidates: &[Candidate], chosen: usize, plan: &Plan) -> Vec<String> {
    let mut changes = Vec::new();
    let first_remedy = |candidate: &Candidate| {
        candidate
            .plan
            .as_ref()
            .err()
            .map(|infeasible| (infeasible.binding[0].remedy(), infeasible.binding.len()))
    };
    if let Some((remedy, _)) = first_remedy(&candidates[0]).filter(|_| chosen != 0) {
        changes.push(format!("{}: {remedy}", words(&candidates[0].workers)));
    }
    for candidate in
        candidates.iter().enumerate().filter(|(index, _)| *index != chosen).map(|(_, other)| other)
    {
        let pool = candidate.workers.iter().next().filter(|_| candidate.workers.len() == 1);
        let (Some((pool, count)), Ok(other)) = (pool, &candidate.plan) else { continue };
        let each = |usd: f64| usd / f64::from(*count);
        match (usd_per_hour(other), usd_per_hour(plan)) {
            (Some(usd), Some(less)) if usd > less => changes.push(format!(
                "pool `{pool}` at less than {:.2} USD per worker and hour instead of {:.2}",
                each(less),
                each(usd)
            )),
            _ => {}
        }
    }
    changes
}

fn usd_per_hour(plan: &Plan) -> Option<f64> {
    plan.price.as_ref().map(|price| price.usd_per_hour)
}

fn bytes_per_step(plan: &Plan) -> u64 {
    let total = |traffic: &Traffic| traffic.values().flat_map(|classes| classes.values()).sum();
    total(&plan.bytes_per_step)
}

/// `2 in private, 2 in public`.
pub fn words(workers: &Workers) -> String {
    workers.iter().map(|(pool, count)| format!("{count} in {pool}")).collect::<Vec<_>>().join(", ")
}
