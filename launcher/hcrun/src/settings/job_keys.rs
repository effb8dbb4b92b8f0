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
/// What the engine takes: the largest dimension and the most layers of a model.
const DIMENSION: Kind = Kind::Whole { min: 1, max: 1 << 20 };
const LAYERS: Kind = Kind::Whole { min: 1, max: 1 << 12 };
const U16: Kind = Kind::Whole { min: 0, max: u16::MAX as i64 };

pub const JOB: &[Key] = keys! {
    "name" Kind::Text, None, "Names the run directory; letters, digits and `-`.";
    "seed" COUNT, Some("1"), "Seed of initial parameters, splits and data order; `--seed N` overrides it. A fixed default makes runs repeatable; compare several seeds before you trust a difference.";
    "model" MODEL, None, "What is trained; at most 2^33 parameters.";
    "data" DATA, None, "How the shards are read.";
    "train" Kind::Table(TRAIN), None, "Loss, optimizer and length.";
    "exchange" Kind::Table(EXCHANGE), Some("{}"), "How gradients are summed. The defaults suit every job that fits in memory; change them when `report.html` shows most of the time in exchange.";
    "workers" Kind::Map(&U16), None, "Workers per pool; a pool has its zone's name unless the cluster file says otherwise. A local worker keeps about one core busy; more workers than cores slow each other.";
    "policy" Kind::Table(POLICY), Some("{}"), "What the data owners demand. The defaults are the strict end; only an owner of data may lower them.";
    "shard" Kind::Tables(SHARD), None, "The pieces of the data set.";
};

const MODEL: Kind =
    Kind::Tagged { tag: "kind", doc: "The architecture.", variants: &[("gpt", GPT), ("mlp", MLP)] };

const GPT: &[Key] = keys! {
    "layers" LAYERS, None, "Transformer blocks.";
    "width" DIMENSION, None, "Size of the residual stream; a multiple of `heads`.";
    "heads" DIMENSION, None, "Attention heads per block.";
    "context" DIMENSION, None, "Bytes a prediction may look back on; also the length of one sample. The cost of attention grows with its square.";
};

const MLP: &[Key] = keys! {
    "hidden" Kind::List(&DIMENSION), None, "Widths of the hidden layers, first to last; ReLU between them.";
};

const DATA: Kind =
    Kind::Tagged { tag: "format", doc: "How the files are read.", variants: &[("text", TEXT), ("csv", CSV)] };

const TEXT: &[Key] = keys! {
    "held_out" Kind::Number, None, "The part of each shard, from its end, that is only evaluated on; between 0 and 1. From the end, so that no training window overlaps it.";
};

const CSV: &[Key] = keys! {
    "held_out" Kind::Number, None, "The part of the rows of each shard that is only evaluated on; between 0 and 1. Chosen by hash of seed, shard and row, in proportion to the classes.";
    "target" Kind::Text, None, "The column to predict.";
    "classes" Kind::List(&Kind::Text), Some("[]"), "The target's classes in output order; needed for cross-entropy. Declared, because nothing is learnt from restricted rows.";
    "categories" Kind::Map(&Kind::List(&Kind::Text)), Some("{}"), "Declared values per text column, one-hot in this order; a text column that is neither declared nor ignored is an error.";
    "unknown" Kind::Flag, Some("false"), "Gives each category a last bucket for undeclared values; without it they are an error, so that a misspelt value is noticed. Set it where new values will come.";
    "ignore" Kind::List(&Kind::Text), Some("[]"), "Columns that are not used.";
};

const TRAIN: &[Key] = keys! {
    "loss" Kind::Words(&["cross-entropy", "mse"]), None, "`cross-entropy` for text and classes, `mse` for a number.";
    "optimizer" Kind::Words(&["sgd", "momentum", "nesterov", "adam", "adamw"]), None, "The update rule; PyTorch's definitions.";
    "learning_rate" Kind::Number, None, "Peak learning rate, after the warm-up. No default: it depends on model and optimizer more than any other key. Lower it when the loss jumps.";
    "final_learning_rate" Kind::Number, Some("0"), "Where `cosine` and `linear` end; raise it if the run is to be resumed for more steps.";
    "schedule" Kind::Words(&["constant", "cosine", "linear"]), Some("\"constant\""), "The course of the learning rate after the warm-up. `constant` does not depend on `steps`; `cosine` usually ends lower.";
    "warmup_steps" COUNT, Some("0"), "Steps in which the learning rate rises from 0. Some tens help `adam` and `adamw`, whose moments are rough at first.";
    "weight_decay" Kind::Number, Some("0"), "Decoupled for `adamw`, added to the gradient otherwise; on matrices and embeddings only. Raise it when held-out loss rises while training loss falls.";
    "momentum" Kind::Number, Some("0.9"), "Of `momentum` and `nesterov`; the usual value.";
    "betas" Kind::Pair(&Kind::Number), Some("[0.9, 0.999]"), "Decay of the moments of `adam` and `adamw`; PyTorch's values. A lower second one (0.95) forgets a bad batch sooner.";
    "epsilon" Kind::Number, Some("1e-8"), "Of `adam` and `adamw`; PyTorch's value. Rarely a reason to change it.";
    "clip" Kind::Number, Some("0"), "Largest global norm of a gradient; 0 switches clipping off, so that an update is what the optimizer's definition says. 1 is usual for `gpt`.";
    "matmul" Kind::Words(&["f32", "bf16"]), Some("\"f32\""), "What the factors of the linear layers' matrix products are rounded to; on a CPU sums, parameters and everything else stay f32. `bf16` is for GPUs, which also keep activations in it, and CPUs with AVX-512 BF16, others compute it without that instruction; compare the loss with that of `f32`.";
    "batch" U32, None, "Samples of one global batch, over all workers. It does not grow with the workers, so their number does not change the training. Each zone needs enough samples per step for `policy.min_contributors`.";
    "accumulation" U32, Some("1"), "Micro-batches a worker's part is computed in; bounds activation memory. Raise it when a worker runs out of memory; sums are the same within rounding.";
    "steps" COUNT, None, "Optimizer steps.";
    "evaluate_every" COUNT, Some("0"), "Steps between evaluations on held-out data; 0: only at the end. An evaluation computes on all held-out samples.";
    "checkpoint_every" COUNT, Some("0"), "Steps between checkpoints; 0: only at the end and at a graceful stop. A failure costs the steps since the last one: set it for runs of more than minutes.";
};

const EXCHANGE: &[Key] = keys! {
    "mode" Kind::Words(&["every-step"]), Some("\"every-step\""), "When workers exchange; the only mode of this version.";
    "algorithm" Kind::Words(&["zoned", "ring", "direct", "one-shot"]), Some("\"zoned\""), "How a sum is formed; only `zoned` may cross zones, so it is the default. Inside one zone `ring` speaks to neighbours alone, `direct` has fewer hops and `one-shot` a single one but sends more; bits are the same.";
    "bucket_bytes" Kind::Size, Some("\"1MiB\""), "Gradient bytes per round. Smaller overlaps more of backward, larger has fewer headers and waits. Between 4KiB and 1GiB.";
    "segment_bytes" Kind::Size, Some("\"256KiB\""), "The unit that a collective pipelines; a multiple of 4KiB, at most 16MiB. Large enough that a header is nothing, small enough that a bucket is several.";
    "codec" Kind::Words(&["none", "bf16", "f16", "int8", "int4"]), Some("\"none\""), "How gradients are packed between zones, or between the workers of a job in one zone: 2, 2, 4 or 8 times fewer bytes. Sums stay f32 and all workers stay equal to the bit; what rounding loses is added to the next step (error feedback), but not over a `resume`. Use it where links are slower than about 1 Gbit/s, and compare the loss.";
    "nccl" Kind::Flag, Some("true"), "Workers of a zone on GPUs of one node sum buckets among themselves by NCCL where all of them find it, with `algorithm = \"zoned\"`; what leaves the zone is the same. Sums have NCCL's order of additions, equal on all workers: `false` gives the bits of a run without it.";
    "lanes" Kind::Whole { min: 1, max: 16 }, Some("1"), "UDP sockets, connections to each other worker and threads of a worker. More than 1 pays where a single core does not fill the link, from about 5 Gbit/s; `listen_ports` must have room for all.";
    "sharded" Kind::Flag, Some("true"), "Each worker updates a part of the parameters and gathers the rest inside its zone; less optimizer memory and work per worker, one more round trip inside the zone. Results are the same.";
    "detect_within_s" U32, Some("5"), "Seconds from a worker's fault to the stop of all processes. Long enough that a busy machine is not taken for a dead one; raise it on machines that stall for seconds.";
};

const POLICY: &[Key] = keys! {
    "strategy" Kind::Words(&["balanced"]), Some("\"balanced\""), "How workers and shards are placed; the only strategy of this version.";
    "min_contributors" U16, Some("2"), "Workers whose gradients must be summed before anything crosses a zone border. 2 is the least that hides a single worker's; 1 must be the decision of the data's owner, and the plan prints it: where sums leave a zone, the job may not go below what `hcrun shard index --min-contributors N` wrote into the manifest of a shard that is not public (2 without the flag).";
    "min_rows" COUNT, Some("30"), "Rows below which a zone's statistics or evaluation sums do not cross a border; fewer tell too much about each. Where sums leave a zone, the job may not go below what `hcrun shard index --min-rows N` wrote into the manifest of a shard that is not public (30 without the flag).";
};

const SHARD: &[Key] = keys! {
    "id" Kind::Name, None, "Its name, unique in the job; workers find the file by it under their data roots.";
    "path" Kind::Text, Some("none"), "Where the file lies, relative to the job file. Not part of the job's digest: where a file lies is each node's own affair.";
    "sensitivity" Kind::Words(&["public", "internal", "restricted"]), Some("\"restricted\""), "`public`: any zone; `internal`: zones of the home zone's owner; `restricted`: its home and the zones it allows. What is not classified is restricted; a job may be stricter than the manifest, never laxer.";
    "home" Kind::Name, Some("none"), "The zone that owns the shard; may be left out for `public` shards only.";
    "allowed_zones" Kind::List(&Kind::Name), Some("[]"), "Beside the home, the private zones that may hold a restricted shard.";
};
