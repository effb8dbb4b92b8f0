//! Pure placement and planning: who runs where, what is held where, and what it will cost.
//!
//! [`plan`] is a function of its arguments: no socket, clock or environment. What it returns is executed as
//! it stands; what it refuses is refused before anything has started, with every binding constraint named.

mod choose;
mod classes;
mod constraint;
mod links;
mod place;
mod state;
mod traffic;

use std::collections::BTreeMap;

use hcrun_protocol::ShardId;
use hcrun_protocol::cluster::Cluster;
use hcrun_protocol::job::Job;
use hcrun_protocol::manifest::ShardManifest;
use hcrun_protocol::model::ModelProfile;
use hcrun_protocol::placement::Placement;
use hcrun_protocol::plan::{ExchangeSummary, PLAN_SCHEMA, Plan, Price, add_traffic};

pub use choose::{Choice, Rejected, Workers, choose, words};
pub use constraint::{Constraint, Infeasible};

/// All that a plan depends on.
#[derive(Debug, Clone, Copy)]
pub struct Inputs<'a> {
    pub job: &'a Job,
    pub cluster: &'a Cluster,
    /// One per shard of the job.
    pub manifests: &'a BTreeMap<ShardId, ShardManifest>,
    pub profile: &'a ModelProfile,
    /// Numbers summed before the first step to standardise columns; 0 for text.
    pub statistics_elems: usize,
    /// Parameters and optimizer states.
    pub state_arenas: usize,
}

/// Places a job and predicts what it sends.
///
/// # Errors
/// Every constraint that binds, so that a user need not lift them one by one.
pub fn plan(inputs: &Inputs<'_>) -> Result<Plan, Infeasible> {
    let Inputs { job, cluster, profile, .. } = inputs;
    let placement = place::place(job, cluster)?;
    let classes = classes::classes(inputs, &placement)?;
    links::check(cluster, &placement)?;
    let batches = classes::batches(inputs, &placement, &classes)?;
    let traffic = traffic::traffic(inputs, &placement)?;
    let (evaluations, checkpoints) =
        (times(job, job.train.evaluate_every), times(job, job.train.checkpoint_every));
    let (launcher_zone, checkpoint_zone) = place::state_zones(cluster, &placement);
    let state = state::state(inputs, &placement, &launcher_zone, &checkpoint_zone, &traffic.exchange);
    let mut total_bytes = traffic.total(job.train.steps, evaluations);
    add_traffic(&mut total_bytes, &state.checkpoint, checkpoints);
    Ok(Plan {
        schema: PLAN_SCHEMA,
        job: job.name.clone(),
        job_digest: job.digest(),
        strategy: job.policy.strategy.clone(),
        samples_per_step: classes::samples_per_step(&batches, placement.workers.len()),
        exchange: ExchangeSummary {
            parameters: profile.parameters,
            arena_elems: profile.arena_elems,
            buckets: traffic.buckets,
            rounds_per_step: traffic.rounds_per_step,
            sharded: job.exchange.sharded,
            min_contributors: job.policy.min_contributors,
        },
        steps: job.train.steps,
        evaluations,
        checkpoints,
        steps_at_risk: match job.train.checkpoint_every {
            0 => job.train.steps,
            every => every.min(job.train.steps),
        },
        total_bytes,
        checkpoint_bytes: state.checkpoint,
        resume_bytes: state.resume,
        launcher_zone,
        checkpoint_zone,
        bytes_per_step: traffic.step,
        bytes_per_evaluation: traffic.evaluation,
        statistics_bytes: traffic.statistics,
        time_s: None,
        cost_usd: None,
        price: price(cluster, &placement),
        warnings: warnings(job, &placement),
        classes,
        placement,
    })
}

/// How often something happens in a whole job: every so many steps and at the end.
fn times(job: &Job, every: u64) -> u64 {
    match every {
        0 => 1,
        every => job.train.steps.div_ceil(every),
    }
}

/// Of all workers together, if every pool in use has a price.
fn price(cluster: &Cluster, placement: &Placement) -> Option<Price> {
    let mut price = Price { usd_per_hour: 0.0, sources: Vec::new() };
    for worker in &placement.workers {
        let pool = cluster.pool(&worker.slot.pool)?;
        price.usd_per_hour += pool.usd_per_hour?;
        let source = format!("{}: {}", pool.name, pool.price_source.as_deref().unwrap_or("no source"));
        if !price.sources.contains(&source) {
            price.sources.push(source);
        }
    }
    Some(price)
}

fn warnings(job: &Job, placement: &Placement) -> Vec<String> {
    let mut warnings = Vec::new();
    let zones = placement.zones();
    if job.policy.min_contributors == 1 && zones.len() > 1 {
        let text = "min_contributors is 1: the gradient of a single worker may cross a border; only the owner of \
                    the data may decide that";
        warnings.push(text.to_owned());
    }
    for (zone, ranks) in &zones {
        if ranks.iter().all(|rank| placement.workers[rank.index()].shards.is_empty()) {
            let text = format!(
                "no shard may be held in zone `{zone}`: its {} workers get no samples and only take part in sums",
                ranks.len()
            );
            warnings.push(text);
        }
    }
    warnings
}
