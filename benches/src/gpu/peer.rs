//! PyTorch on the same card.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use crate::talker::Talker;

/// Its fused AdamW on as many parameters, on the card of this index: time, versions, card.
pub(super) fn fused_adamw(python: &Path, index: u32, end: Instant) -> anyhow::Result<serde_json::Value> {
    hear(python, &[ADAMW, &index.to_string()], end)
}

/// GPT-2 124M, eager and compiled, on the card of this index: tokens a second, versions, card.
pub(super) fn gpt2(
    python: &Path,
    index: u32,
    (sequences, steps): (usize, usize),
    end: Instant,
) -> anyhow::Result<serde_json::Value> {
    hear(python, &[GPT2, &index.to_string(), &sequences.to_string(), &steps.to_string()], end)
}

fn hear(python: &Path, words: &[&str], end: Instant) -> anyhow::Result<serde_json::Value> {
    let mut command = Command::new(python);
    command.arg("-c").args(words);
    let mut torch = Talker::start("torch".to_owned(), command)?;
    torch.hear_within(end.saturating_duration_since(Instant::now()))
}

/// Where PyTorch brings NVRTC and NCCL along.
pub(super) struct Packages(Option<PathBuf>);

/// Of no Python, nothing.
pub(super) fn packages(python: Option<&Path>) -> Packages {
    let Some(python) = python else { return Packages(None) };
    let script = "import sysconfig; print(sysconfig.get_paths()['purelib'])";
    let output =
        Command::new(python).args(["-c", script]).output().ok().filter(|output| output.status.success());
    Packages(output.map(|output| PathBuf::from(String::from_utf8_lossy(&output.stdout).trim())))
}

impl Packages {
    pub(super) fn nvrtc(&self) -> Vec<PathBuf> {
        self.folders(&["nvidia/cuda_nvrtc/lib", "nvidia/cu13/lib"])
    }

    pub(super) fn nccl(&self) -> Vec<PathBuf> {
        self.folders(&["nvidia/nccl/lib"])
    }

    fn folders(&self, names: &[&str]) -> Vec<PathBuf> {
        let folders = self.0.iter().flat_map(|packages| names.iter().map(|name| packages.join(name)));
        folders.filter(|folder| folder.is_dir()).collect()
    }
}

const ADAMW: &str = include_str!("../../peers/gpu_adamw.py");
const GPT2: &str = include_str!("../../peers/gpu_gpt2.py");
