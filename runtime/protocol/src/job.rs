//! A job: what to train and under which policy. The typed form of `job.toml`.
//!
//! The settings are equal on all workers; a digest over them is compared at join. Shard ids count, paths
//! do not: where a file lies is the node's own affair.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::dtype::Codec;
use crate::ids::{PoolId, ShardId, ZoneId};
use crate::manifest::Sensitivity;
use crate::units::Bytes;

/// One `job.toml`, parsed and with every default filled in. Ranges are checked by [`Job::check`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Job {
    /// Names the run directory; letters, digits and `-`.
    pub name: String,
    /// Seed of initial parameters, splits and data order.
    #[serde(default = "default_seed")]
    pub seed: u64,
    pub model: Model,
    pub data: Data,
    pub train: Train,
    #[serde(default)]
    pub exchange: Exchange,
    /// Workers per pool; a pool has its zone's name unless the cluster file says otherwise.
    pub workers: BTreeMap<PoolId, u16>,
    #[serde(default)]
    pub policy: Policy,
    #[serde(rename = "shard")]
    pub shards: Vec<Shard>,
}

fn default_seed() -> u64 {
    1
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Model {
    /// GPT-2's shape: learned positions, pre-norm, biases, tanh GELU, head tied to the embedding.
    Gpt { layers: u32, width: u32, heads: u32, context: u32 },
    /// Linear layers with ReLU between them; inputs and outputs follow from the data.
    Mlp { hidden: Vec<u32> },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "format", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Data {
    /// Bytes; the last `held_out` of each shard is held out.
    Text { held_out: f64 },
    /// Comma-separated with a header line; rows are held out by hash of (seed, shard, row).
    Csv {
        held_out: f64,
        /// The column to predict.
        target: String,
        /// The target's classes in output order; needed for cross-entropy. Declared, never learnt from
        /// restricted rows. A row with any other label is an error.
        #[serde(default)]
        classes: Vec<String>,
        /// Declared values per text column, one-hot in this order, plus a bucket for the unknown when
        /// `unknown = true` is among the settings; otherwise an undeclared value is an error.
        #[serde(default)]
        categories: BTreeMap<String, Vec<String>>,
        /// Adds to each category a last bucket that takes undeclared values.
        #[serde(default)]
        unknown: bool,
        /// Columns that are not used.
        #[serde(default)]
        ignore: Vec<String>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Loss {
    /// Mean negative log likelihood in nats; per token for text.
    CrossEntropy,
    /// Mean squared error of the standardised target; reports are in the target's unit.
    Mse,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Optimizer {
    Sgd,
    Momentum,
    Nesterov,
    Adam,
    Adamw,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LearningRateSchedule {
    Constant,
    /// From the peak to `final_learning_rate` along half a cosine, after the warm-up.
    Cosine,
    /// From the peak to `final_learning_rate` along a line, after the warm-up.
    Linear,
}

/// What the factors of a linear layer's matrix products are rounded to. Sums are always f32, and so is all else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Matmul {
    #[default]
    F32,
    /// To nearest, ties to even.
    Bf16,
}

impl Matmul {
    /// The job file's word.
    pub fn name(self) -> &'static str {
        match self {
            Matmul::F32 => "f32",
            Matmul::Bf16 => "bf16",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Train {
    pub loss: Loss,
    pub optimizer: Optimizer,
    /// Peak learning rate, after the warm-up.
    pub learning_rate: f64,
    #[serde(default)]
    pub final_learning_rate: f64,
    #[serde(default = "default_schedule")]
    pub schedule: LearningRateSchedule,
    #[serde(default)]
    pub warmup_steps: u64,
    /// Decoupled for `adamw`, added to the gradient otherwise; on matrices and embeddings only.
    #[serde(default)]
    pub weight_decay: f64,
    /// Of `momentum` and `nesterov`.
    #[serde(default = "default_momentum")]
    pub momentum: f64,
    /// Decay of the first and second moments of `adam` and `adamw`.
    #[serde(default = "default_betas")]
    pub betas: [f64; 2],
    #[serde(default = "default_epsilon")]
    pub epsilon: f64,
    /// Largest global norm of a gradient; 0 switches clipping off.
    #[serde(default)]
    pub clip: f64,
    #[serde(default)]
    pub matmul: Matmul,
    /// Samples of one global batch (windows of `context` tokens for text).
    pub batch: u32,
    /// Micro-batches a worker's part is computed in; bounds activation memory.
    #[serde(default = "default_accumulation")]
    pub accumulation: u32,
    pub steps: u64,
    /// Steps between evaluations on held-out data; 0: only at the end.
    #[serde(default)]
    pub evaluate_every: u64,
    /// Steps between checkpoints; 0: only at the end (and at a graceful stop).
    #[serde(default)]
    pub checkpoint_every: u64,
}

fn default_schedule() -> LearningRateSchedule {
    LearningRateSchedule::Constant
}
fn default_momentum() -> f64 {
    0.9
}
fn default_betas() -> [f64; 2] {
    [0.9, 0.999]
}
fn default_epsilon() -> f64 {
    1e-8
}
fn default_accumulation() -> u32 {
    1
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExchangeMode {
    /// All ranks exchange gradients at every step.
    EveryStep,
}

/// How the sum of a bucket is formed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Algorithm {
    /// Reduce inside each zone, exchange zone sums, gather inside each zone. The only one that may be
    /// used across zones.
    Zoned,
    /// Neighbour to neighbour; one zone only.
    Ring,
    /// Every rank to every owner; one zone only.
    Direct,
    /// Every rank sends everything to all others: one hop, for small buffers; one zone only.
    OneShot,
}

impl Algorithm {
    /// The word in job files and errors.
    pub const fn name(self) -> &'static str {
        match self {
            Algorithm::Zoned => "zoned",
            Algorithm::Ring => "ring",
            Algorithm::Direct => "direct",
            Algorithm::OneShot => "one-shot",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Exchange {
    pub mode: ExchangeMode,
    pub algorithm: Algorithm,
    /// Gradient bytes per round. Smaller overlaps more of backward, larger has fewer headers.
    pub bucket_bytes: Bytes,
    /// The unit that a collective pipelines. Equal on all workers, since it decides frame counts.
    pub segment_bytes: Bytes,
    /// How gradients are packed between zones, or between the workers of a job in a single zone.
    pub codec: Codec,
    /// Workers on the GPUs of a node sum among themselves by NCCL where they have it; only with `zoned`.
    pub nccl: bool,
    /// Sockets, connections per peer and threads of each worker.
    pub lanes: u16,
    /// Each worker updates a part of the parameters (per zone) and gathers the rest.
    pub sharded: bool,
    /// From a worker's fault to the stop of all processes.
    pub detect_within_s: u32,
}

impl Exchange {
    /// Whether workers on the GPUs of a node may sum among themselves.
    pub fn sums_by_nccl(&self) -> bool {
        self.nccl && self.algorithm == Algorithm::Zoned
    }
}

impl Default for Exchange {
    fn default() -> Exchange {
        Exchange {
            mode: ExchangeMode::EveryStep,
            algorithm: Algorithm::Zoned,
            bucket_bytes: Bytes(1 << 20),
            segment_bytes: Bytes(256 << 10),
            codec: Codec::None,
            nccl: true,
            lanes: 1,
            sharded: true,
            detect_within_s: 5,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    /// A named scheduling policy.
    pub strategy: String,
    /// Workers whose gradients must be summed before anything crosses a zone border.
    pub min_contributors: u16,
    /// Rows below which a zone's statistics or evaluation sums do not cross a border.
    pub min_rows: u64,
}

impl Default for Policy {
    fn default() -> Policy {
        Policy { strategy: "balanced".to_owned(), min_contributors: 2, min_rows: 30 }
    }
}

/// One `[[shard]]` of a job file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shard {
    pub id: ShardId,
    /// Where the file lies on a local node, relative to the job file. Not part of the job's digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    #[serde(default)]
    pub sensitivity: Sensitivity,
    /// The zone that owns the shard. May be left out for `public` shards only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub home: Option<ZoneId>,
    /// Private zones that may hold a restricted shard; its home alone when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allowed_zones: Vec<ZoneId>,
}

/// A setting outside its range.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{key} is {got}: {rule}")]
pub struct JobError {
    /// The key as written in the job file: `train.batch`.
    pub key: String,
    pub got: String,
    pub rule: String,
}

impl Job {
    /// The job as every worker must hold it: without paths.
    pub fn without_paths(&self) -> Job {
        let mut job = self.clone();
        job.shards.iter_mut().for_each(|shard| shard.path = None);
        job
    }

    /// Canonical JSON: keys in declaration order, no paths. What is digested and what travels.
    pub fn canonical_json(&self) -> String {
        serde_json::to_string(&self.without_paths())
            .expect("a job has only string keys and finite numbers: check")
    }

    /// SHA-256 of [`Self::canonical_json`], in hexadecimal.
    pub fn digest(&self) -> String {
        crate::manifest::sha256_hex(self.canonical_json().as_bytes())
    }

    /// Refuses settings out of range, the first in the order of the file.
    pub fn check(&self) -> Result<(), JobError> {
        check::check(self)
    }

    pub fn min_contributors(&self) -> usize {
        usize::from(self.policy.min_contributors)
    }
}

mod check;
