//! `examples/gpt` by whole runs of `hcrun`: all workers on CPUs, then some of the same workers on the cards. Losses are
//! compared step by step.
//!
//! The runs are of this program (see `main.rs`), so that there is no other one to find or to carry.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use std::{env, fs};

use anyhow::{Context, ensure};
use serde::Serialize;
use serde_json::Value;

use crate::processes::{Started, end_all};
use crate::train::losses;

/// What is changed of the example.
#[derive(Debug, Clone, Copy)]
pub(super) struct Variant {
    /// Of each novel, from its start.
    pub(super) text_bytes: usize,
    pub(super) settings: &'static [&'static str],
}

/// It warms up in fewer steps than the example, so that the loss falls far enough to tell right from wrong.
pub(super) const WHOLE: Variant = Variant {
    text_bytes: usize::MAX,
    settings: &["train.steps=20", "train.evaluate_every=20", "train.warmup_steps=5"],
};

/// For tests, on the emulator, which takes its time for each window that is evaluated.
pub(super) const TINY: Variant = Variant {
    text_bytes: 8_000,
    settings: &[
        "model.layers=1",
        "model.width=16",
        "model.heads=2",
        "model.context=16",
        "train.batch=8",
        "train.learning_rate=1e-2",
        "train.warmup_steps=0",
        "train.steps=8",
        "train.evaluate_every=8",
    ],
};

/// Of a loss on the CPU. A value of bf16 has eight bits, so that rounding it changes it by up to 2⁻⁹ of itself, and a GPU
/// rounds all values between layers, where a CPU keeps f32. In the mean over a batch these roundings mostly cancel each
/// other, so that the loss has to be nearer than a single one of them.
pub(super) const TOLERANCE: f64 = 1.0 / 512.0;

#[derive(Debug, Clone, Serialize)]
pub(super) struct Compared {
    workers_on_cards: u32,
    tolerance: f64,
    steps: Vec<Losses>,
    held_out: Losses,
    /// Of a loss on the CPU.
    largest_difference: f64,
    #[serde(skip)]
    beyond: Option<String>,
}

#[derive(Debug, Clone, Copy, Serialize)]
struct Losses {
    cpu: f64,
    gpu: f64,
}

impl Losses {
    fn difference(self) -> f64 {
        (self.gpu - self.cpu).abs() / self.cpu.abs()
    }

    fn is_near(self) -> bool {
        // NaN is not.
        self.difference() <= TOLERANCE
    }
}

impl Compared {
    fn new(workers_on_cards: u32, cpu: &Found, gpu: &Found) -> anyhow::Result<Compared> {
        ensure!(
            cpu.steps.len() == gpu.steps.len() && !cpu.steps.is_empty(),
            "{} steps, on the CPU {}",
            gpu.steps.len(),
            cpu.steps.len()
        );
        let pairs = cpu.steps.iter().zip(&gpu.steps);
        let steps: Vec<Losses> = pairs.map(|(&cpu, &gpu)| Losses { cpu, gpu }).collect();
        let held_out = Losses { cpu: cpu.held_out, gpu: gpu.held_out };
        let named = (1..).map(|step| format!("step {step}")).zip(steps.iter().copied());
        let named = named.chain([("held-out data".to_owned(), held_out)]);
        let far = named.clone().find(|(_, losses)| !losses.is_near());
        let beyond = far.map(|(what, losses @ Losses { cpu, gpu })| {
            let difference = losses.difference();
            format!("{what}: loss {gpu:.5}, on the CPU {cpu:.5}: {difference:.5} of it, at most {TOLERANCE:.5} is allowed")
        });
        let largest_difference = named.map(|(_, losses)| losses.difference()).fold(0.0, f64::max);
        Ok(Compared { workers_on_cards, tolerance: TOLERANCE, steps, held_out, largest_difference, beyond })
    }

    /// The first loss that is farther from the CPU's than allowed.
    pub(super) fn beyond(&self) -> Option<&str> {
        self.beyond.as_deref()
    }

    pub(super) fn largest_difference(&self) -> f64 {
        self.largest_difference
    }
}

/// Of a run.
struct Found {
    steps: Vec<f64>,
    held_out: f64,
}

/// A worker on each card, one on a CPU beside them in the private zone, two on CPUs in the public one: what the example's
/// policy asks for.
///
/// # Errors
/// If a run fails, with its last words, or does not end by `end`.
pub(super) fn run(
    variant: &Variant,
    cards: u32,
    environment: &[(&str, PathBuf)],
    end: Instant,
) -> anyhow::Result<Compared> {
    let folder = tempfile::tempdir().context("a folder for the example")?;
    let scene = Scene { folder: folder.path(), variant, cards, environment, end };
    scene.write()?;
    let cpu = scene.run("cpu").context("on CPUs")?;
    let gpu = scene.run("gpu").context("with workers on GPUs")?;
    Compared::new(cards, &cpu, &gpu)
}

struct Scene<'a> {
    folder: &'a Path,
    variant: &'a Variant,
    cards: u32,
    environment: &'a [(&'a str, PathBuf)],
    end: Instant,
}

impl Scene<'_> {
    fn write(&self) -> anyhow::Result<()> {
        let write = |name: &str, contents: &[u8]| {
            let path = self.folder.join(name);
            fs::write(&path, contents).with_context(|| format!("cannot write {}", path.display()))
        };
        fs::create_dir(self.folder.join("data")).context("a folder for the novels")?;
        for (name, novel) in NOVELS {
            let bytes = novel.len().min(self.variant.text_bytes);
            write(&format!("data/{name}.txt"), &novel[..bytes])?;
        }
        write("job.toml", JOB.as_bytes())?;
        write("cpu.toml", self.cluster("").as_bytes())?;
        let device = format!("device = \"card\"\ndevices_per_node = {}", self.cards);
        write("gpu.toml", self.cluster(&device).as_bytes())?;
        // What is cut has other manifests than the example.
        self.hcrun("index", &["shard", "index", "job.toml"])
    }

    fn cluster(&self, device: &str) -> String {
        CLUSTER.replace("SLOTS", &self.cards.to_string()).replace("DEVICE", device)
    }

    fn run(&self, name: &str) -> anyhow::Result<Found> {
        let (cluster, workers) = (format!("{name}.toml"), format!("workers.cards={}", self.cards));
        let mut words = vec!["run", "job.toml", "--quiet", "--cluster", &cluster, "--runs-dir", name];
        let settings = [&workers, "workers.private=1", "workers.public=2", "train.matmul=bf16"];
        words.extend(settings.iter().chain(self.variant.settings).flat_map(|setting| ["--set", *setting]));
        self.hcrun(name, &words)?;
        let read = |file: &str| {
            let path = self.folder.join(name).join("latest").join(file);
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
        };
        let summary: Value = serde_json::from_str(&read("summary.json")?).context("summary.json")?;
        let held_out =
            summary["eval"]["loss"].as_f64().context("summary.json has no loss of held-out data")?;
        Ok(Found { steps: losses(&read("metrics.jsonl")?)?, held_out })
    }

    fn hcrun(&self, name: &str, words: &[&str]) -> anyhow::Result<()> {
        let mut command = Command::new(env::current_exe().context("this program's path")?);
        command.args(words).current_dir(self.folder);
        for variable in ["HCRUN_RUNS_DIR", "HCRUN_CLUSTER", "HCRUN_QUEUE"] {
            command.env_remove(variable);
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        let within = LIMIT.min(self.end.saturating_duration_since(Instant::now()));
        end_all(vec![Started::start(&format!("hcrun-{name}"), command, self.folder)?], within).map(drop)
    }
}

/// Many times what a run takes.
const LIMIT: Duration = Duration::from_secs(120);

const CLUSTER: &str = r#"
zone = [
    { name = "private", trust = "private", owner = "us" },
    { name = "public", trust = "public", owner = "cloud" },
]
[[pool]]
name = "private"
zone = "private"
slots = 1
[[pool]]
name = "public"
zone = "public"
slots = 2
[[pool]]
name = "cards"
zone = "private"
slots = SLOTS
DEVICE
"#;

const JOB: &str = include_str!("../../../examples/gpt/job.toml");

macro_rules! novels {
    ($($name:literal)*) => {
        [$(($name, include_bytes!(concat!("../../../examples/gpt/data/", $name, ".txt")))),*]
    };
}
const NOVELS: [(&str, &[u8]); 6] = novels!(
    "emma" "mansfieldpark" "northangerabbey" "persuasion" "prideprejudice" "sensesensibility"
);

#[cfg(test)]
mod tests {
    use super::*;

    fn compared(cpu: [f64; 2], gpu: [f64; 2], held_out: f64) -> Compared {
        let of = |steps: [f64; 2], held_out| Found { steps: steps.into(), held_out };
        Compared::new(1, &of(cpu, 5.0), &of(gpu, held_out)).unwrap()
    }

    #[test]
    fn each_loss_has_to_be_near_the_cpus() {
        let near = compared([4.0, 5.0], [4.006, 4.995], 5.005);
        assert_eq!(near.beyond(), None);
        assert!((near.largest_difference() - 0.0015).abs() < 1e-9, "{near:?}");
        let far = compared([4.0, 5.0], [4.0, 4.9], 5.0);
        assert_eq!(
            far.beyond(),
            Some("step 2: loss 4.90000, on the CPU 5.00000: 0.02000 of it, at most 0.00195 is allowed")
        );
        for held_out in [4.9, f64::NAN] {
            let far = compared([4.0, 5.0], [4.0, 5.0], held_out);
            assert!(far.beyond().unwrap().starts_with("held-out data: "), "{far:?}");
        }
    }

    #[test]
    fn other_steps_are_no_comparison() {
        let of = |steps: &[f64]| Found { steps: steps.into(), held_out: 1.0 };
        for (cpu, gpu) in [(&[1.0][..], &[][..]), (&[], &[]), (&[1.0], &[1.0, 1.0])] {
            assert!(Compared::new(1, &of(cpu), &of(gpu)).is_err());
        }
    }
}
