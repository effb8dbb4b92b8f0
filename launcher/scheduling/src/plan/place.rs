//! Binds slots to ranks: the `balanced` strategy.
//!
//! Pools give as many workers as the job asks of them; ranks follow the zones of the cluster file, so that a
//! zone's ranks are neighbours. Every worker holds every shard its zone may hold: then the samples of a class
//! can be dealt to any of its workers, which is what evens the load. Disk is cheaper than waiting.

use hcrun_protocol::cluster::{Cluster, MAX_WORKERS, Trust};
use hcrun_protocol::job::{Job, Matmul};
use hcrun_protocol::manifest::Sensitivity;
use hcrun_protocol::placement::{PlacedShard, PlacedWorker, Placement};
use hcrun_protocol::residency::{Rule, allowed_zones};
use hcrun_protocol::{Generation, Rank, ShardId, SlotId, ZoneId};

use super::constraint::{Constraint, Infeasible};
use crate::strategies;

pub(crate) fn place(job: &Job, cluster: &Cluster) -> Result<Placement, Infeasible> {
    check_counts(job, cluster)?;
    let mut shards = place_shards(job, cluster)?;
    let mut workers = Vec::new();
    for zone in &cluster.zones {
        for pool in cluster.pools.iter().filter(|pool| pool.zone == zone.name) {
            for index in 0..job.workers.get(&pool.name).copied().unwrap_or(0) {
                let held = shards.iter().filter(|shard| shard.zones.contains(&zone.name));
                let held: Vec<ShardId> = held.map(|shard| shard.id.clone()).collect();
                workers.push(PlacedWorker {
                    rank: Rank::from_index(workers.len()),
                    slot: SlotId { pool: pool.name.clone(), index },
                    zone: zone.name.clone(),
                    trust: zone.trust,
                    node: None,
                    reason: reason(&zone.name, &held),
                    shards: held,
                });
            }
        }
    }
    for shard in &mut shards {
        let holders = workers.iter().filter(|worker| shard.zones.contains(&worker.zone));
        shard.slots = holders.map(|worker| worker.slot.clone()).collect();
    }
    let unheld: Vec<Constraint> = shards.iter().filter(|shard| shard.slots.is_empty()).map(unheld).collect();
    if !unheld.is_empty() {
        return Err(Infeasible { binding: unheld });
    }
    Ok(Placement { generation: Generation(1), workers, shards })
}

/// Where the launcher runs, and whose workers hand their state over to it: its own zone's where it has
/// workers, then nothing crosses a border; else those of a private zone.
pub(crate) fn state_zones(cluster: &Cluster, placement: &Placement) -> (ZoneId, ZoneId) {
    let workers = &placement.workers;
    let own = cluster.launcher_zone().filter(|zone| workers.iter().any(|worker| worker.zone == **zone));
    let private = || workers.iter().find(|worker| worker.trust == Trust::Private).map(|worker| &worker.zone);
    let checkpoint = own.or_else(private).unwrap_or(&workers[0].zone).clone();
    (cluster.launcher_zone().unwrap_or(&checkpoint).clone(), checkpoint)
}

/// Whether what a zone's workers sum up leaves the zone: to another zone's workers, or as checkpoints, losses
/// and statistics to a launcher elsewhere. Sums over public data alone hide nothing from a launcher.
pub(crate) fn sums_leave(job: &Job, cluster: &Cluster, placement: &Placement) -> bool {
    let zones = placement.zones();
    let public = job.shards.iter().all(|shard| shard.sensitivity == Sensitivity::Public);
    let (launcher, _) = state_zones(cluster, placement);
    zones.len() > 1 || (!public && zones.iter().any(|(zone, _)| *zone != launcher))
}

fn check_counts(job: &Job, cluster: &Cluster) -> Result<(), Infeasible> {
    let mut binding = Vec::new();
    if job.policy.strategy != "balanced" && strategies::by_name(&job.policy.strategy).is_none() {
        binding.push(Constraint::UnknownStrategy(job.policy.strategy.clone()));
    }
    for (name, wanted) in &job.workers {
        match cluster.pool(name) {
            None => {
                let pools: Vec<String> =
                    cluster.pools.iter().map(|pool| format!("`{}`", pool.name)).collect();
                binding.push(Constraint::UnknownPool { pool: name.clone(), pools: pools.join(", ") });
            }
            Some(pool) if pool.slots < *wanted => {
                let (wanted, slots) = (*wanted, pool.slots);
                binding.push(Constraint::TooFewSlots { pool: name.clone(), wanted, slots });
            }
            Some(pool) if *wanted > 0 && pool.has_gpus() && job.train.matmul != Matmul::Bf16 => {
                binding.push(Constraint::Precision { pool: name.clone() });
            }
            Some(_) => {}
        }
    }
    match job.workers.values().map(|count| usize::from(*count)).sum() {
        0 => binding.push(Constraint::NoWorkers),
        wanted if wanted > MAX_WORKERS => {
            binding.push(Constraint::TooManyWorkers { wanted, limit: MAX_WORKERS });
        }
        _ => {}
    }
    if binding.is_empty() { Ok(()) } else { Err(Infeasible { binding }) }
}

/// Shards with the zones that may hold them; slots are filled in once workers are known.
fn place_shards(job: &Job, cluster: &Cluster) -> Result<Vec<PlacedShard>, Infeasible> {
    let (mut shards, mut binding) = (Vec::new(), Vec::new());
    for shard in &job.shards {
        match allowed_zones(shard, &cluster.zones) {
            Ok(allowed) => shards.push(PlacedShard {
                id: shard.id.clone(),
                sensitivity: shard.sensitivity,
                home: shard.home.clone(),
                zones: in_file_order(cluster, |zone| allowed.contains(zone)),
                slots: Vec::new(),
                rule: Rule::from(shard).text(),
            }),
            Err(error) => binding.push(Constraint::Residency(error)),
        }
    }
    if binding.is_empty() { Ok(shards) } else { Err(Infeasible { binding }) }
}

fn in_file_order(cluster: &Cluster, wanted: impl Fn(&ZoneId) -> bool) -> Vec<ZoneId> {
    cluster.zones.iter().map(|zone| &zone.name).filter(|zone| wanted(zone)).cloned().collect()
}

fn reason(zone: &ZoneId, held: &[ShardId]) -> String {
    if held.is_empty() {
        return format!("asked for; `{zone}` may hold no shard");
    }
    format!("asked for; holds all that `{zone}` may, so that load can be evened")
}

fn unheld(shard: &PlacedShard) -> Constraint {
    let zones: Vec<String> = shard.zones.iter().map(|zone| format!("zone `{zone}`")).collect();
    Constraint::Unheld { shard: shard.id.clone(), rule: shard.rule.clone(), zones: zones.join(" or ") }
}
