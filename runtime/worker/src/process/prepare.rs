//! From an assignment to a trainer: everything is checked again by the one who would do the wrong.

use std::mem::ManuallyDrop;
use std::rc::Rc;

use hcrun_engine::data::schema::SchemaError;
use hcrun_engine::data::shard_file::{self, ShardFileError};
use hcrun_engine::data::{DataError, Dataset, Schema};
use hcrun_engine::spec::{DataShape, ModelSpec, SpecError};
use hcrun_engine::trainer::{ModelTrainer, TrainerError};
use hcrun_kernels::device::Device;
use hcrun_protocol::batch::{BatchError, BatchPlan, ClassSize, even_part};
use hcrun_protocol::cluster::{Cluster, MAX_WORKERS, Network, Trust, Zone};
use hcrun_protocol::control::{AssignedDevice, Assignment, FailureClass};
use hcrun_protocol::exchange::{ExchangeError, ExchangePlan};
use hcrun_protocol::job::{Data, Job};
use hcrun_protocol::manifest::{BelowFloor, Sensitivity, ShardManifest};
use hcrun_protocol::residency::{self, ResidencyError};
use hcrun_protocol::{Rank, ShardId, ZoneId};

use super::gpu::{self, GpuError};
use crate::locate::DataLocations;
use crate::progress::Progress;
use crate::train::Floors;

/// A worker's part of a job, ready to train.
pub(super) struct Prepared {
    pub(super) job: Job,
    pub(super) zones: Vec<ZoneId>,
    pub(super) exchange: ExchangePlan,
    pub(super) batches: BatchPlan,
    /// Nothing of a GPU is given back after a failure: the driver would wait for what runs there, which may never end,
    /// before anybody has been told.
    pub(super) trainer: ManuallyDrop<ModelTrainer>,
    /// None on the CPU.
    pub(super) device: ManuallyDrop<Option<Rc<dyn Device>>>,
    pub(super) floors: Floors,
    pub(super) arena_elems: usize,
    pub(super) samples: u64,
    pub(super) held_out: u64,
}

/// Text is bytes: every value is a token.
const BYTES: usize = 256;

/// Why an assignment is not taken.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    #[error("the job's settings or statistics cannot be read")]
    Job(#[source] serde_json::Error),
    #[error("the job's settings are out of range")]
    Settings(#[from] hcrun_protocol::job::JobError),
    #[error("the job's digest is {got}, announced was {announced}")]
    Digest { got: String, announced: String },
    #[error("rank {got} of {workers} workers")]
    Rank { got: u16, workers: usize },
    #[error("assigned to slot {assigned} of zone `{assigned_zone}`, the certificate is of {own}")]
    Slot { assigned: String, assigned_zone: ZoneId, own: String },
    /// The one refusal that the whole product stands on.
    #[error("refused to open a shard")]
    Residency(#[from] ResidencyError),
    #[error("sums may not leave the zone")]
    Floor(#[from] BelowFloor),
    #[error("shard `{shard}` of class {class} was not assigned with a manifest")]
    NoManifest { shard: ShardId, class: usize },
    #[error("shard `{shard}` is not on this node: looked for {places}; name its folder with --data-root")]
    NotHere { shard: ShardId, places: String },
    #[error("a shard cannot be used")]
    File(#[from] ShardFileError),
    #[error("a shard cannot be used")]
    Data(#[from] DataError),
    #[error("the tables do not fit the job")]
    Schema(#[from] SchemaError),
    #[error("class {class} has {found} training and held-out samples here, planned were {planned}")]
    Samples { class: usize, found: String, planned: String },
    #[error("the model cannot be built")]
    Model(#[from] SpecError),
    #[error("the exchange is refused")]
    Exchange(#[from] ExchangeError),
    #[error("batches cannot be composed")]
    Batch(#[from] BatchError),
    #[error(transparent)]
    Trainer(#[from] TrainerError),
    #[error("this worker's GPU cannot be used")]
    Gpu(#[from] GpuError),
}

impl PrepareError {
    /// Where the fault lies.
    pub fn class(&self) -> FailureClass {
        match self {
            PrepareError::Residency(_)
            | PrepareError::Floor(_)
            | PrepareError::Exchange(_)
            | PrepareError::Slot { .. } => FailureClass::Policy,
            PrepareError::NotHere { .. }
            | PrepareError::File(_)
            | PrepareError::Data(_)
            | PrepareError::Samples { .. }
            | PrepareError::Schema(_) => FailureClass::Data,
            PrepareError::Gpu(_) | PrepareError::Trainer(TrainerError::Device(_)) => FailureClass::Device,
            _ => FailureClass::Internal,
        }
    }
}

impl PrepareError {
    /// Names of folders and files stay in their zone, with the log; none where the error names none.
    pub(super) fn text_for_elsewhere(&self) -> Option<String> {
        let (shard, what) = match self {
            PrepareError::NotHere { shard, .. }
            | PrepareError::File(ShardFileError::Missing { shard, .. }) => (shard, "is not on this node"),
            PrepareError::File(ShardFileError::NotAFile { shard, .. }) => (shard, "is not a plain file"),
            PrepareError::File(ShardFileError::Read { shard, .. }) => (shard, "cannot be read"),
            PrepareError::File(
                ShardFileError::Empty { shard, .. }
                | ShardFileError::Size { shard, .. }
                | ShardFileError::Hash { shard, .. },
            ) => (shard, "is not as its manifest says"),
            _ => return None,
        };
        Some(format!("shard `{shard}` {what}: the worker's own log names the file"))
    }
}

/// Checks the assignment, opens the shards and builds the trainer.
///
/// `own` slot and zone are the certificate's, `coordinator_zone` is that of the coordinator's.
pub(super) fn prepare(
    assignment: &Assignment,
    own: (&str, &ZoneId),
    coordinator_zone: &ZoneId,
    locations: &DataLocations,
    progress: &Progress,
) -> Result<Prepared, PrepareError> {
    let job = read_job(assignment)?;
    let me = check_place(assignment, own)?;
    let zones: Vec<ZoneId> = assignment.workers.iter().map(|worker| worker.zone.clone()).collect();
    let groups = group_by_zone(&zones);
    let restricted = assignment.manifests.iter().any(|shard| shard.sensitivity != Sensitivity::Public);
    let sums_leave = groups.len() > 1 || (restricted && own.1 != coordinator_zone);
    if sums_leave {
        check_floors(&job, &assignment.manifests)?;
    }

    let dataset = open_shards(&job, assignment, me, own.1, locations, progress)?;
    let classes: Vec<(ClassSize, u64)> = assignment
        .classes
        .iter()
        .map(|class| {
            let holds = |rank: &Rank| class.zones.contains(&zones[rank.index()]);
            let ranks = (0..zones.len()).map(Rank::from_index).filter(holds).collect();
            let samples = class.shards.iter().map(|shard| shard.samples).sum();
            (ClassSize { samples, ranks }, class.shards.iter().map(|shard| shard.held_out).sum())
        })
        .collect();

    let shape = match dataset.schema() {
        Some(schema) => DataShape::Table { features: schema.features, outputs: schema.outputs },
        None => DataShape::Text { vocab: BYTES },
    };
    let spec = ModelSpec::new(&job.model, shape)?;
    let profile = spec.profile();
    let exchange = ExchangePlan::new(&job, &groups, &profile)?;
    let sizes = classes.iter().map(|(size, _)| size.clone()).collect();
    let batches = BatchPlan::new(job.seed, job.train.batch, sizes, vec![1.0; zones.len()])?;
    let floors = Floors { sums_leave, zones: rows_by_zone(&classes, &zones) };
    let held_out: Vec<_> = classes.iter().map(|(size, held)| (*held, size.ranks.clone())).collect();
    let part = |items: u64, ranks: &[Rank]| {
        let part = even_part(items, ranks, me);
        part.end - part.start
    };
    let own_held_out = held_out.iter().map(|(items, ranks)| part(*items, ranks)).sum();
    let own_samples =
        classes.iter().filter(|(size, _)| size.ranks.contains(&me)).map(|(size, _)| size.samples);
    let samples = own_samples.sum();
    let updated = exchange.updated(me);
    let device = match assignment.workers[me.index()].device {
        AssignedDevice::Cpu => None,
        AssignedDevice::Gpu { index } => Some(gpu::open(index)?),
    };
    let buckets = exchange.buckets();
    let mut trainer = ModelTrainer::new(
        &job,
        spec,
        me,
        batches.clone(),
        held_out,
        dataset,
        buckets,
        updated,
        device.clone(),
    )?;
    let ticking = progress.clone();
    trainer.set_on_progress(move || ticking.tick());
    if !assignment.statistics_json.is_empty() {
        let statistics = serde_json::from_str(&assignment.statistics_json).map_err(PrepareError::Job)?;
        trainer.resume_statistics(statistics)?;
    }
    let arena_elems = profile.arena_elems;
    Ok(Prepared {
        job,
        zones,
        exchange,
        batches,
        trainer: ManuallyDrop::new(trainer),
        device: ManuallyDrop::new(device),
        floors,
        arena_elems,
        samples,
        held_out: own_held_out,
    })
}

fn read_job(assignment: &Assignment) -> Result<Job, PrepareError> {
    let job: Job = serde_json::from_str(&assignment.job_json).map_err(PrepareError::Job)?;
    job.check()?;
    let got = job.digest();
    if got != assignment.job_digest {
        return Err(PrepareError::Digest { got, announced: assignment.job_digest.clone() });
    }
    Ok(job)
}

fn check_place(assignment: &Assignment, own: (&str, &ZoneId)) -> Result<Rank, PrepareError> {
    let workers = assignment.workers.len();
    let me = assignment.rank;
    let assigned = assignment.workers.get(me.index()).filter(|_| workers <= MAX_WORKERS);
    let assigned = assigned.ok_or(PrepareError::Rank { got: me.0, workers })?;
    if assigned.slot.to_string() != own.0 || assigned.zone != *own.1 {
        let own = format!("slot {} of zone `{}`", own.0, own.1);
        let assigned_zone = assigned.zone.clone();
        return Err(PrepareError::Slot { assigned: assigned.slot.to_string(), assigned_zone, own });
    }
    Ok(me)
}

/// The owners' floors, asked again by the one whose sums would leave.
fn check_floors(job: &Job, manifests: &[ShardManifest]) -> Result<(), BelowFloor> {
    manifests.iter().try_for_each(|manifest| manifest.check_floors(&job.policy))
}

/// Ranks by zone; zones stand one after the other in rank order.
fn group_by_zone(zones: &[ZoneId]) -> Vec<Vec<Rank>> {
    let mut groups: Vec<(&ZoneId, Vec<Rank>)> = Vec::new();
    for (index, zone) in zones.iter().enumerate() {
        let rank = Rank::from_index(index);
        match groups.iter_mut().find(|(name, _)| *name == zone) {
            Some((_, ranks)) => ranks.push(rank),
            None => groups.push((zone, vec![rank])),
        }
    }
    groups.into_iter().map(|(_, ranks)| ranks).collect()
}

fn open_shards(
    job: &Job,
    assignment: &Assignment,
    me: Rank,
    own_zone: &ZoneId,
    locations: &DataLocations,
    progress: &Progress,
) -> Result<Dataset, PrepareError> {
    let cluster = known_zones(assignment);
    for manifest in &assignment.manifests {
        residency::may_hold(manifest, own_zone, &cluster)?;
    }
    let schema = match job.data {
        Data::Text { .. } => None,
        Data::Csv { .. } => Some(Schema::new(&job.data, &assignment.columns)?),
    };
    let mut dataset = Dataset::new(job, schema, assignment.classes.len())?;
    for (index, class) in assignment.classes.iter().enumerate() {
        if !class.zones.contains(&assignment.workers[me.index()].zone) {
            continue;
        }
        for shard in &class.shards {
            let manifest = assignment.manifests.iter().find(|manifest| manifest.id == shard.id);
            let missing = || PrepareError::NoManifest { shard: shard.id.clone(), class: index };
            let manifest = manifest.ok_or_else(missing)?;
            let path = locations.find(&shard.id).map_err(|places| not_here(&shard.id, &places))?;
            let bytes = shard_file::open_checked(manifest, &path)?;
            tracing::info!(shard = %shard.id, bytes = bytes.len(), "opened");
            dataset.add(index, manifest, bytes)?;
            progress.tick();
        }
        let found = dataset.samples(index);
        let planned: (u64, u64) =
            class.shards.iter().fold((0, 0), |sum, shard| (sum.0 + shard.samples, sum.1 + shard.held_out));
        if (found.training, found.held_out) != planned {
            let found = format!("{} and {}", found.training, found.held_out);
            let planned = format!("{} and {}", planned.0, planned.1);
            return Err(PrepareError::Samples { class: index, found, planned });
        }
    }
    Ok(dataset)
}

fn not_here(shard: &ShardId, places: &[std::path::PathBuf]) -> PrepareError {
    let places: Vec<String> = places.iter().map(|place| place.display().to_string()).collect();
    let places =
        if places.is_empty() { "nothing: no --data-root was given".to_owned() } else { places.join(", ") };
    PrepareError::NotHere { shard: shard.clone(), places }
}

fn known_zones(assignment: &Assignment) -> Cluster {
    let zone = |zone: &hcrun_protocol::control::AssignedZone| {
        let trust = if zone.private { Trust::Private } else { Trust::Public };
        Zone::new(zone.name.clone(), trust, zone.owner.clone())
    };
    Cluster {
        zones: assignment.zones.iter().map(zone).collect(),
        pools: Vec::new(),
        launcher_zone: None,
        network: Network::default(),
        prices: None,
    }
}

/// Rows whose sums each zone's workers send: their even parts of every class they may hold.
fn rows_by_zone(classes: &[(ClassSize, u64)], zones: &[ZoneId]) -> Vec<(ZoneId, u64, u64)> {
    let groups = group_by_zone(zones);
    let rows = |ranks: &[Rank], items: &dyn Fn(&(ClassSize, u64)) -> u64| -> u64 {
        let of_class = |class: &(ClassSize, u64)| -> u64 {
            let parts = ranks.iter().map(|rank| even_part(items(class), &class.0.ranks, *rank));
            parts.map(|part| part.end - part.start).sum()
        };
        classes.iter().map(of_class).sum()
    };
    let zone = |ranks: &Vec<Rank>| {
        let name = zones[ranks[0].index()].clone();
        (name, rows(ranks, &|class| class.0.samples), rows(ranks, &|class| class.1))
    };
    groups.iter().map(zone).collect()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use hcrun_protocol::manifest::Content;

    use super::*;
    use crate::process::WorkerError;

    fn shard() -> ShardId {
        ShardId::new("secret").unwrap()
    }

    #[test]
    fn a_job_below_an_owners_floor_is_refused_by_the_worker_itself() {
        let job = |policy: &str| -> Job {
            let job = r#"{"name": "demo", "model": {"kind": "mlp", "hidden": [4]},
                "data": {"format": "text", "held_out": 0.2}, "workers": {"private": 2}, "shard": [],
                "train": {"loss": "mse", "optimizer": "sgd", "learning_rate": 0.1, "batch": 8, "steps": 1},
                "policy": POLICY}"#;
            serde_json::from_str(&job.replace("POLICY", policy)).unwrap()
        };
        let mut manifest = ShardManifest {
            id: shard(),
            bytes: 1,
            sha256: String::new(),
            sensitivity: Sensitivity::Restricted,
            home: Some(ZoneId::new("private").unwrap()),
            allowed_zones: Vec::new(),
            min_contributors: None,
            min_rows: None,
            content: Content::Text,
        };
        let refusal = |policy: &str, manifest: &ShardManifest| {
            let refused = check_floors(&job(policy), std::slice::from_ref(manifest)).err();
            refused.map(|below| {
                assert_eq!(PrepareError::from(below.clone()).class(), FailureClass::Policy);
                (below.key, below.floor, below.job)
            })
        };
        assert_eq!(refusal("{}", &manifest), None);
        assert_eq!(refusal(r#"{"min_contributors": 1}"#, &manifest), Some(("min_contributors", 2, 1)));
        assert_eq!(refusal(r#"{"min_rows": 29}"#, &manifest), Some(("min_rows", 30, 29)));
        (manifest.min_contributors, manifest.min_rows) = (Some(1), Some(40));
        assert_eq!(refusal(r#"{"min_contributors": 1}"#, &manifest), Some(("min_rows", 40, 30)));
        assert_eq!(refusal(r#"{"min_contributors": 1, "min_rows": 40}"#, &manifest), None);
        manifest.sensitivity = Sensitivity::Public;
        assert_eq!(refusal(r#"{"min_contributors": 1, "min_rows": 0}"#, &manifest), None);
    }

    #[test]
    fn names_of_files_and_folders_stay_in_their_zone() {
        let path = || PathBuf::from("/ward/patients.csv");
        let denied = || std::io::Error::from(std::io::ErrorKind::PermissionDenied);
        let errors = [
            not_here(&shard(), &[path()]),
            ShardFileError::Missing { shard: shard(), path: path() }.into(),
            ShardFileError::NotAFile { shard: shard(), path: path(), kind: "a folder" }.into(),
            ShardFileError::Read { shard: shard(), path: path(), source: denied() }.into(),
            ShardFileError::Empty { shard: shard(), path: path() }.into(),
            ShardFileError::Size { shard: shard(), path: path(), expected: 1, found: 2 }.into(),
            ShardFileError::Hash {
                shard: shard(),
                path: path(),
                expected: "a".to_owned(),
                found: "b".to_owned(),
            }
            .into(),
        ];
        for error in errors {
            let error = WorkerError::from(error);
            let (near, far) = (error.report(false).unwrap().text, error.report(true).unwrap().text);
            assert!(near.contains("patients.csv"), "{near}");
            assert!(far.contains("`secret`") && !far.contains("ward") && !far.contains("patients"), "{far}");
        }
    }
}
