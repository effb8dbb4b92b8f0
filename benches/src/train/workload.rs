//! What both sides train: GPT-2's shape on six novels, as a job of hcrun and as files for the peer.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use hcrun_engine::learning_rate::learning_rate;
use hcrun_engine::spec::{DataShape, ModelSpec};
use hcrun_protocol::batch::{BatchPlan, ClassSize};
use hcrun_protocol::job::{self, Train};
use hcrun_protocol::model::Segment;
use hcrun_protocol::split::text_split;
use hcrun_protocol::{Rank, Step};
use serde::Serialize;
use serde_json::{Value, json};

pub(crate) struct Workload {
    train: Train,
    spec: ModelSpec,
    /// Where the novels lie.
    texts: PathBuf,
}

/// As the results tell it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Shape {
    pub(crate) parameters: usize,
    layers: u32,
    width: u32,
    heads: u32,
    context: u32,
    vocab: usize,
    seed: u64,
    data: &'static [&'static str],
    held_out: f64,
    train: Train,
}

/// 3.3 million parameters, so 13 MB of gradients in f32.
const LAYERS: u32 = 4;
const WIDTH: u32 = 256;
const HEADS: u32 = 4;
const CONTEXT: u32 = 128;
const VOCAB: usize = 256;
const SEED: u64 = 1;
/// hcrun evaluates at the end: on few samples, because that is not what is measured, but more than its
/// default floor for sums that cross a border, 30 in each zone.
const HELD_OUT: f64 = 0.004;
/// In the order of their ids, in which hcrun counts samples of public shards.
const NOVELS: &[&str] =
    &["emma", "mansfieldpark", "northangerabbey", "persuasion", "prideprejudice", "sensesensibility"];
/// Two private and two public workers; or two ranks on each host.
pub(crate) const WORKERS: u32 = 4;

impl Workload {
    pub(crate) fn new(batch: u32, steps: u32) -> anyhow::Result<Workload> {
        let model = job::Model::Gpt { layers: LAYERS, width: WIDTH, heads: HEADS, context: CONTEXT };
        let spec = ModelSpec::new(&model, DataShape::Text { vocab: VOCAB })?;
        let texts = crate::root().join("examples/gpt/data");
        Ok(Workload { train: train(batch, steps), spec, texts })
    }

    pub(crate) fn batch(&self) -> u32 {
        self.train.batch
    }

    pub(crate) fn steps(&self) -> usize {
        usize::try_from(self.train.steps).expect("from a u32")
    }

    pub(crate) fn parameters(&self) -> usize {
        self.spec.profile().parameters
    }

    /// Longer than any side takes on a busy machine and a slow link.
    pub(crate) fn limit(&self) -> Duration {
        Duration::from_secs(120 + 15 * self.train.steps)
    }

    pub(crate) fn texts(&self) -> &Path {
        &self.texts
    }

    pub(crate) fn shape(&self) -> Shape {
        Shape {
            parameters: self.parameters(),
            layers: LAYERS,
            width: WIDTH,
            heads: HEADS,
            context: CONTEXT,
            vocab: VOCAB,
            seed: SEED,
            data: NOVELS,
            held_out: HELD_OUT,
            train: self.train.clone(),
        }
    }

    /// `job.toml`. All shards are public: every worker may hold all, so load is even.
    pub(crate) fn job(&self) -> String {
        let Train { learning_rate, warmup_steps, weight_decay, betas, epsilon, clip, batch, steps, .. } =
            &self.train;
        let mut job = format!(
            r#"name = "bench-train"
seed = {SEED}
model = {{ kind = "gpt", layers = {LAYERS}, width = {WIDTH}, heads = {HEADS}, context = {CONTEXT} }}
data = {{ format = "text", held_out = {HELD_OUT} }}
workers = {{ private = 2, public = 2 }}
# Four computing processes may share fewer cores: none of them is dead because it waits.
exchange = {{ detect_within_s = 30 }}

[train]
loss = "cross-entropy"
optimizer = "adamw"
learning_rate = {learning_rate:?}
schedule = "cosine"
warmup_steps = {warmup_steps}
weight_decay = {weight_decay:?}
betas = {betas:?}
epsilon = {epsilon:?}
clip = {clip:?}
batch = {batch}
steps = {steps}
"#
        );
        for novel in NOVELS {
            let path = self.texts.join(format!("{novel}.txt"));
            job.push_str(&format!(
                "\n[[shard]]\nid = \"{novel}\"\npath = {path:?}\nsensitivity = \"public\"\n"
            ));
        }
        job
    }

    /// Writes initial parameters, the samples of every step and the settings; returns the settings' path.
    pub(crate) fn write_for_peer(&self, folder: &Path, bucket_mib: u32) -> anyhow::Result<PathBuf> {
        let (parameters, samples) = (folder.join("parameters.f32"), folder.join("samples.u8"));
        let arena: Vec<u8> = self.spec.init(SEED).into_iter().flat_map(f32::to_le_bytes).collect();
        write(&parameters, &arena)?;
        write(&samples, &self.samples()?)?;
        let profile = self.spec.profile();
        let segment = |s: &Segment| json!({"name": s.name, "offset": s.offset, "shape": s.shape});
        let segments: Vec<Value> = profile.segments.iter().map(segment).collect();
        let model = json!({
            "layers": LAYERS, "width": WIDTH, "heads": HEADS, "context": CONTEXT, "vocab": VOCAB,
        });
        let rates: Vec<f64> = (0..self.train.steps).map(|step| learning_rate(&self.train, step)).collect();
        let settings = json!({
            "model": model,
            "train": self.train,
            "bucket_mib": bucket_mib,
            "learning_rates": rates,
            "parameters": parameters,
            "segments": segments,
            "samples": samples,
        });
        let path = folder.join("settings.json");
        write(&path, &serde_json::to_vec(&settings)?)?;
        Ok(path)
    }

    /// `[steps, batch, context + 1]`: the bytes that hcrun's plan puts into each step, in its order.
    fn samples(&self) -> anyhow::Result<Vec<u8>> {
        let context = CONTEXT as usize;
        let mut windows: Vec<Vec<u8>> = Vec::new();
        for novel in NOVELS {
            let path = self.texts.join(format!("{novel}.txt"));
            let text = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
            let count = text_split(text.len() as u64, HELD_OUT, u64::from(CONTEXT)).training;
            windows.extend(
                (0..usize::try_from(count)?).map(|index| text[index * context..][..=context].to_vec()),
            );
        }
        let ranks: Vec<Rank> = (0..WORKERS).map(|rank| Rank::from_index(rank as usize)).collect();
        let class = ClassSize { samples: windows.len() as u64, ranks };
        let plan = BatchPlan::new(SEED, self.train.batch, vec![class], vec![1.0; WORKERS as usize])?;
        let mut bytes = Vec::new();
        for step in (0..self.train.steps).map(Step) {
            for part in plan.compose(step).parts {
                for sample in plan.samples(&part) {
                    bytes.extend_from_slice(&windows[usize::try_from(sample.index)?]);
                }
            }
        }
        let expected = self.steps() * self.train.batch as usize * (context + 1);
        ensure!(bytes.len() == expected, "{} bytes of samples, expected {expected}", bytes.len());
        Ok(bytes)
    }
}

/// GPT-2's usual settings at this size.
fn train(batch: u32, steps: u32) -> Train {
    Train {
        loss: job::Loss::CrossEntropy,
        optimizer: job::Optimizer::Adamw,
        learning_rate: 1e-3,
        final_learning_rate: 0.0,
        schedule: job::LearningRateSchedule::Cosine,
        // Fewer, and the loss jumps.
        warmup_steps: u64::from((steps / 10).max(20).min(steps)),
        weight_decay: 0.1,
        momentum: 0.9,
        betas: [0.9, 0.95],
        epsilon: 1e-8,
        clip: 1.0,
        matmul: job::Matmul::F32,
        batch,
        accumulation: 1,
        steps: u64::from(steps),
        evaluate_every: 0,
        checkpoint_every: 0,
    }
}

fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_model_has_three_point_three_million_parameters() {
        assert_eq!(Workload::new(16, 12).unwrap().parameters(), 3_257_856);
    }

    #[test]
    fn every_step_has_its_samples() {
        let samples = Workload::new(8, 10).unwrap().samples().unwrap();
        assert_eq!(samples.len(), 10 * 8 * 129);
        assert!(samples.is_ascii(), "the novels are");
    }
}
