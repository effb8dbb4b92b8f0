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

/// Where the packages of this Python have NVRTC, which PyTorch brings along.
pub(super) fn nvrtc_folders(python: &Path) -> Vec<PathBuf> {
    let script = "import sysconfig; print(sysconfig.get_paths()['purelib'])";
    let output =
        Command::new(python).args(["-c", script]).output().ok().filter(|output| output.status.success());
    let Some(output) = output else { return Vec::new() };
    let packages = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    vec![packages.join("nvidia/cuda_nvrtc/lib"), packages.join("nvidia/cu13/lib")]
}

const ADAMW: &str = include_str!("../../peers/gpu_adamw.py");
const GPT2: &str = include_str!("../../peers/gpu_gpt2.py");
