//! The keys of a job file, with defaults and meaning; `docs/job-file.md` is this table.

use super::schema::{Key, Kind};

macro_rules! keys {
    ($($name:literal $kind:expr, $default:expr, $doc:literal;)*) => {
        &[$(Key { name: $name, kind: $kind, default: $default, doc: $doc }),*]
    };
}
pub(super) use keys;

const COUNT: Kind = Kind::Whole { min: 0, max: i64::MAX };
const U32: Kind = Kind::Whole { min: 0, max: u32::MAX as i64 };
const U16: Kind = Kind::Whole { min: 0, max: u16::MAX as i64 };

pub const JOB: &[Key] = keys! {
    "name" Kind::Text, None, "Names the run directory; letters, digits and `-`.";
    "seed" COUNT, Some("1"), "Seed of initial parameters, splits and data order; `--seed N` overrides it.";
    "model" MODEL, None, "What is trained.";
    "data" DATA, None, "How the shards are read.";
    "train" Kind::Table(TRAIN), None, "Loss, optimizer and length.";
    "exchange" Kind::Table(EXCHANGE), Some("{}"), "How gradients are summed.";
    "workers" Kind::Map(&U16), None, "Workers per pool; a pool has its zone's name unless the cluster file says otherwise.";
    "policy" Kind::Table(POLICY), Some("{}"), "What the data owners demand.";
    "shard" Kind::Tables(SHARD), None, "The pieces of the data set.";
};

const MODEL: Kind =
    Kind::Tagged { tag: "kind", doc: "The architecture.", variants: &[("gpt", GPT), ("mlp", MLP)] };

const GPT: &[Key] = keys! {
    "layers" U32, None, "Transformer blocks.";
    "width" U32, None, "Size of the residual stream; a multiple of `heads`.";
    "heads" U32, None, "Attention heads per block.";
    "context" U32, None, "Bytes a prediction may look back on; also the length of one sample.";
};

const MLP: &[Key] = keys! {
    "hidden" Kind::List(&U32), None, "Widths of the hidden layers, first to last; ReLU between them.";
};

const DATA: Kind =
    Kind::Tagged { tag: "format", doc: "How the files are read.", variants: &[("text", TEXT), ("csv", CSV)] };

const TEXT: &[Key] = keys! {
    "held_out" Kind::Number, None, "The part of each shard, from its end, that is only evaluated on; between 0 and 1.";
};

const CSV: &[Key] = keys! {
    "held_out" Kind::Number, None, "The part of the rows of each shard that is only evaluated on; between 0 and 1.";
    "target" Kind::Text, None, "The column to predict.";
    "classes" Kind::List(&Kind::Text), Some("[]"), "The target's classes in output order; needed for cross-entropy.";
    "categories" Kind::Map(&Kind::List(&Kind::Text)), Some("{}"), "Declared values per text column, one-hot in this order.";
    "unknown" Kind::Flag, Some("false"), "Gives each category a last bucket for undeclared values; without it they are an error.";
    "ignore" Kind::List(&Kind::Text), Some("[]"), "Columns that are not used.";
};

const TRAIN: &[Key] = keys! {
    "loss" Kind::Words(&["cross-entropy", "mse"]), None, "`cross-entropy` for text and classes, `mse` for a number.";
    "optimizer" Kind::Words(&["sgd", "momentum", "nesterov", "adam", "adamw"]), None, "The update rule; PyTorch's definitions.";
    "learning_rate" Kind::Number, None, "Peak learning rate, after the warm-up.";
    "final_learning_rate" Kind::Number, Some("0"), "Where `cosine` and `linear` end.";
    "schedule" Kind::Words(&["constant", "cosine", "linear"]), Some("\"constant\""), "The course of the learning rate after the warm-up.";
    "warmup_steps" COUNT, Some("0"), "Steps in which the learning rate rises from 0.";
    "weight_decay" Kind::Number, Some("0"), "Decoupled for `adamw`, added to the gradient otherwise; on matrices and embeddings only.";
    "momentum" Kind::Number, Some("0.9"), "Of `momentum` and `nesterov`.";
    "betas" Kind::Pair(&Kind::Number), Some("[0.9, 0.999]"), "Decay of the moments of `adam` and `adamw`.";
    "epsilon" Kind::Number, Some("1e-8"), "Of `adam` and `adamw`.";
    "clip" Kind::Number, Some("0"), "Largest global norm of a gradient; 0 switches clipping off.";
    "batch" U32, None, "Samples of one global batch, over all workers.";
    "accumulation" U32, Some("1"), "Micro-batches a worker's part is computed in; bounds activation memory.";
    "steps" COUNT, None, "Optimizer steps.";
    "evaluate_every" COUNT, Some("0"), "Steps between evaluations on held-out data; 0: only at the end.";
    "checkpoint_every" COUNT, Some("0"), "Steps between checkpoints; 0: only at the end and at a graceful stop.";
};

const EXCHANGE: &[Key] = keys! {
    "mode" Kind::Words(&["every-step"]), Some("\"every-step\""), "When workers exchange.";
    "algorithm" Kind::Words(&["zoned", "ring", "direct"]), Some("\"zoned\""), "How a sum is formed; only `zoned` may cross zones.";
    "bucket_bytes" Kind::Size, Some("\"1MiB\""), "Gradient bytes per round. Smaller overlaps more of backward, larger has fewer headers.";
    "segment_bytes" Kind::Size, Some("\"256KiB\""), "The unit that a collective pipelines; a multiple of 4KiB.";
    "sharded" Kind::Flag, Some("true"), "Each worker updates a part of the parameters and gathers the rest inside its zone.";
    "detect_within_s" U32, Some("5"), "Seconds from a worker's fault to the stop of all processes.";
};

const POLICY: &[Key] = keys! {
    "strategy" Kind::Words(&["balanced"]), Some("\"balanced\""), "How workers and shards are placed.";
    "min_contributors" U16, Some("2"), "Workers whose gradients must be summed before anything crosses a zone border.";
    "min_rows" COUNT, Some("30"), "Rows below which a zone's statistics or evaluation sums do not cross a border.";
};

const SHARD: &[Key] = keys! {
    "id" Kind::Name, None, "Its name, unique in the job.";
    "path" Kind::Text, Some("none"), "Where the file lies, relative to the job file. Not part of the job's digest.";
    "sensitivity" Kind::Words(&["public", "internal", "restricted"]), Some("\"restricted\""), "`public`: any zone; `internal`: zones of the home zone's owner; `restricted`: its home and the zones it allows.";
    "home" Kind::Name, Some("none"), "The zone that owns the shard; may be left out for `public` shards only.";
    "allowed_zones" Kind::List(&Kind::Name), Some("[]"), "Beside the home, the private zones that may hold a restricted shard.";
};
