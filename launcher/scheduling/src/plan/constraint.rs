//! Why a job cannot be placed.

use hcrun_protocol::manifest::BelowFloor;
use hcrun_protocol::residency::ResidencyError;
use hcrun_protocol::{PoolId, ShardId, SlotId, ZoneId};

/// The job cannot be placed; every constraint that binds.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{}", .binding.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub struct Infeasible {
    pub binding: Vec<Constraint>,
}

impl From<Constraint> for Infeasible {
    fn from(constraint: Constraint) -> Infeasible {
        Infeasible { binding: vec![constraint] }
    }
}

#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Constraint {
    #[error("there is no strategy `{0}`; there are {names}", names = crate::strategies::names())]
    UnknownStrategy(String),
    #[error("{strategy} does not place {workers} workers: {why}")]
    StrategyRefuses { strategy: String, workers: usize, why: String },
    #[error("the cluster is no fleet: {0}")]
    Fleet(String),
    #[error("zero workers are asked for")]
    NoWorkers,
    #[error("{wanted} workers are asked for, {limit} is the most of one job")]
    TooManyWorkers { wanted: usize, limit: usize },
    #[error("workers are asked of pool `{pool}`, which the cluster does not have: its pools are {pools}")]
    UnknownPool { pool: PoolId, pools: String },
    #[error("{wanted} workers are asked of pool `{pool}`, which has {slots} slots")]
    TooFewSlots { pool: PoolId, wanted: u16, slots: u16 },
    #[error(
        "workers of pool `{pool}` compute on GPUs, whose matrix products have factors of bf16, and train.matmul is \"f32\""
    )]
    Precision { pool: PoolId },
    #[error(transparent)]
    Residency(#[from] ResidencyError),
    #[error("shard `{shard}` has no manifest")]
    NoManifest { shard: ShardId },
    #[error("shard `{shard}` is not of the job's format, {format}")]
    WrongFormat { shard: ShardId, format: &'static str },
    #[error("no worker may hold shard `{shard}` ({rule}): there are no workers in {zones}")]
    Unheld { shard: ShardId, rule: String, zones: String },
    #[error("there are {samples} training samples for {workers} workers")]
    MoreWorkersThanSamples { samples: u64, workers: usize },
    #[error("nothing is held out: {samples} samples at data.held_out = {held_out} leave none to evaluate on")]
    NothingHeldOut { samples: u64, held_out: f64 },
    #[error(
        "zone `{zone}` has {workers} of the {min} workers whose gradients must be summed before they cross a \
         border (policy.min_contributors)"
    )]
    FewWorkers { zone: ZoneId, workers: usize, min: usize },
    #[error(
        "at step {step} only {contributors} workers of zone `{zone}` hold samples, but gradients of at least \
         {min} must be summed before they cross a border (policy.min_contributors)"
    )]
    FewContributors { zone: ZoneId, step: u64, contributors: usize, min: usize },
    #[error(
        "zone `{zone}` has {rows} {split} rows, but sums over fewer than {min} may not cross a border (policy.min_rows)"
    )]
    FewRows { zone: ZoneId, rows: u64, split: &'static str, min: u64 },
    #[error(transparent)]
    BelowFloor(#[from] BelowFloor),
    #[error("{a} and {b} cannot reach each other: neither pool is `reachable`")]
    Unreachable { a: SlotId, b: SlotId },
    #[error("the exchange cannot be built: {0}")]
    Exchange(String),
}

impl Constraint {
    /// The key of the job file that binds, if it is one: `shard[1].home`, `workers.public`.
    pub fn job_key(&self) -> Option<String> {
        match self {
            Constraint::UnknownStrategy(_) => Some("policy.strategy".to_owned()),
            Constraint::NoWorkers | Constraint::MoreWorkersThanSamples { .. } => Some("workers".to_owned()),
            Constraint::TooManyWorkers { .. } => Some("workers".to_owned()),
            Constraint::UnknownPool { pool, .. } | Constraint::TooFewSlots { pool, .. } => {
                Some(format!("workers.{pool}"))
            }
            Constraint::Precision { .. } => Some("train.matmul".to_owned()),
            Constraint::NothingHeldOut { .. } => Some("data.held_out".to_owned()),
            Constraint::FewWorkers { .. } | Constraint::FewContributors { .. } => {
                Some("policy.min_contributors".to_owned())
            }
            Constraint::FewRows { .. } => Some("policy.min_rows".to_owned()),
            Constraint::BelowFloor(below) => Some(format!("policy.{}", below.key)),
            _ => None,
        }
    }

    /// What would lift it.
    pub fn remedy(&self) -> String {
        match self {
            Constraint::UnknownStrategy(_) => {
                "name one of the strategies listed, or leave policy.strategy out".to_owned()
            }
            Constraint::StrategyRefuses { .. } => {
                "ask for fewer workers, or add slots to a pool that may hold the data".to_owned()
            }
            Constraint::Fleet(_) => "correct the pools of the cluster file".to_owned(),
            Constraint::NoWorkers => "ask for at least one under `workers`".to_owned(),
            Constraint::TooManyWorkers { limit, .. } => format!("ask for at most {limit} workers"),
            Constraint::UnknownPool { .. } => "name a pool of the cluster under `workers`".to_owned(),
            Constraint::TooFewSlots { pool, slots, .. } => {
                format!("ask `{pool}` for at most {slots} workers, or raise its slots in the cluster file")
            }
            Constraint::Precision { pool } => {
                format!(
                    "set train.matmul = \"bf16\", or `device = \"cpu\"` in pool `{pool}` of the cluster file"
                )
            }
            Constraint::Residency(_) => "correct the shard's sensitivity, home or allowed_zones".to_owned(),
            Constraint::NoManifest { .. } => "run `hcrun shard index` in the shard's home zone".to_owned(),
            Constraint::WrongFormat { .. } => "correct data.format, or index the shard again".to_owned(),
            Constraint::Unheld { zones, .. } => format!("ask under `workers` for workers in {zones}"),
            Constraint::MoreWorkersThanSamples { samples, .. } => {
                format!("ask for at most {samples} workers, or give the job more data")
            }
            Constraint::NothingHeldOut { .. } => "raise data.held_out, or give the job more data".to_owned(),
            Constraint::FewWorkers { zone, min, .. } => format!(
                "ask for at least {min} workers in zone `{zone}`, or keep all workers and the launcher inside \
                 it; only the owner of the data may lower policy.min_contributors"
            ),
            Constraint::FewContributors { .. } => {
                "raise train.batch, so that each step gives samples to more workers".to_owned()
            }
            Constraint::FewRows { zone, .. } => format!(
                "give zone `{zone}` more data, or keep all workers and the launcher inside it; only the owner of the data may lower \
                 policy.min_rows"
            ),
            Constraint::BelowFloor(BelowFloor { shard, key, floor, job }) => format!(
                "set policy.{key} = {floor}, or let the owner of shard `{shard}` index it again in its home: \
                 `hcrun shard index JOB --shard {shard} --{} {job}`",
                key.replace('_', "-")
            ),
            Constraint::Unreachable { a, .. } => {
                format!("set `reachable = true` for pool `{}` if its workers can be dialled", a.pool)
            }
            Constraint::Exchange(_) => "change the settings under `exchange`".to_owned(),
        }
    }
}
