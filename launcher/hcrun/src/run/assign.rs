//! From a plan to what each worker and the coordinator are told. Makes no choice of its own.

use std::time::Duration;

use std::collections::BTreeMap;

use hcrun_protocol::ZoneId;
use hcrun_protocol::cluster::Trust;
use hcrun_protocol::control::{
    AssignedClass, AssignedDevice, AssignedShard, AssignedWorker, AssignedZone, Assignment, Build,
    PROTOCOL_VERSION, StateArena,
};
use hcrun_protocol::coordinator::{Settings, silence_limit};
use hcrun_protocol::link::LinkSpec;
use hcrun_protocol::placement::PlacedWorker;
use hcrun_protocol::{JobId, Span, Step};

use crate::prepare::Prepared;

/// Files to read and check and links to make; large shards on slow disks take minutes.
const PREPARE_WITHIN: Span = Span::from_secs(600);
/// Processes started here come one after the other, so this bounds a standstill: with the moment before and
/// the end after it, 5 s. A job that allows longer silences allows them here too, one that allows shorter
/// ones still lets processes start.
fn join_within(prepared: &Prepared) -> Span {
    silence_limit(detect_within(prepared)).saturating_sub(START_ALLOWANCE).max(START_WITHIN)
}

const START_ALLOWANCE: Span = Span::from_millis(300);
const START_WITHIN: Span = Span::from_millis(4_100);

/// A one-use token lives this long, and so does the wait for workers from elsewhere.
pub(super) const TICKET_LIFETIME: Duration = Duration::from_secs(600);

/// Version and source revision: both sides of a job have to be the same program.
pub(crate) fn build() -> Build {
    Build { protocol: PROTOCOL_VERSION, program: format!("hcrun {}", env!("HCRUN_BUILD")) }
}

/// What a resumed run adds.
pub(super) struct Start {
    pub(super) step: Step,
    pub(super) state: Vec<StateArena>,
    pub(super) statistics_json: String,
}

pub(super) fn settings(prepared: &Prepared, job: JobId, start: &Start, waits: bool) -> Settings {
    let workers = assigned_workers(prepared);
    let assignment = |worker: &PlacedWorker| assignment(prepared, job, &workers, worker, start);
    Settings {
        build: build(),
        assignments: prepared.plan.placement.workers.iter().map(assignment).collect(),
        workers: workers.clone(),
        start: start.step,
        state: start.state.clone(),
        buckets: prepared.plan.exchange.buckets,
        detect_within: detect_within(prepared),
        join_within: if waits { Span::from_secs(TICKET_LIFETIME.as_secs()) } else { join_within(prepared) },
        prepare_within: PREPARE_WITHIN,
    }
}

/// What each link between zones may use: the rate is shared by the links that carry a bucket across a border
/// at once, one for each worker of the larger zone.
fn link(prepared: &Prepared) -> LinkSpec {
    let mut workers: BTreeMap<&ZoneId, u64> = BTreeMap::new();
    for worker in &prepared.plan.placement.workers {
        *workers.entry(&worker.zone).or_default() += 1;
    }
    let links = if workers.len() > 1 { workers.into_values().max().unwrap_or(1) } else { 1 };
    prepared.cluster.network.link(links)
}

fn detect_within(prepared: &Prepared) -> Span {
    Span::from_secs(prepared.file.job.exchange.detect_within_s.into())
}

fn assigned_workers(prepared: &Prepared) -> Vec<AssignedWorker> {
    let worker = |worker: &PlacedWorker| {
        let pool = prepared.cluster.pool(&worker.slot.pool);
        AssignedWorker {
            slot: worker.slot.clone(),
            zone: worker.zone.clone(),
            reachable: pool.is_none_or(|pool| pool.reachable),
            device: pool.map_or(AssignedDevice::Cpu, |pool| pool.device_of(&worker.slot)),
        }
    };
    prepared.plan.placement.workers.iter().map(worker).collect()
}

fn assignment(
    prepared: &Prepared,
    job: JobId,
    workers: &[AssignedWorker],
    worker: &PlacedWorker,
    start: &Start,
) -> Assignment {
    let settings = &prepared.file.job;
    let manifest = |id| prepared.manifests.get(id).cloned();
    let class = |class: &hcrun_protocol::plan::PlannedClass| AssignedClass {
        zones: class.zones.clone(),
        shards: class
            .shards
            .iter()
            .map(|shard| AssignedShard {
                id: shard.id.clone(),
                samples: shard.samples.training,
                held_out: shard.samples.held_out,
            })
            .collect(),
    };
    let zone = |zone: &hcrun_protocol::cluster::Zone| AssignedZone {
        name: zone.name.clone(),
        private: zone.trust == Trust::Private,
        owner: zone.owner.clone(),
    };
    Assignment {
        job,
        generation: prepared.plan.placement.generation,
        job_json: settings.canonical_json(),
        job_digest: settings.digest(),
        rank: worker.rank,
        workers: workers.to_vec(),
        manifests: worker.shards.iter().filter_map(manifest).collect(),
        classes: prepared.plan.classes.iter().map(class).collect(),
        columns: prepared.model.columns.clone(),
        zones: prepared.cluster.zones.iter().map(zone).collect(),
        statistics_json: start.statistics_json.clone(),
        listen_ports: prepared.cluster.pool(&worker.slot.pool).and_then(|pool| pool.listen_ports),
        link: link(prepared),
        silence_limit: silence_limit(detect_within(prepared)),
        checkpoint_zone: prepared.plan.checkpoint_zone.clone(),
    }
}
