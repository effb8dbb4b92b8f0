//! PyTorch on the same card.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

/// Its fused AdamW on as many parameters, on the card of this index: time, versions, card.
pub(super) fn fused_adamw(python: &Path, index: u32, end: Instant) -> anyhow::Result<serde_json::Value> {
    let mut child = Command::new(python)
        .args(["-c", SCRIPT, &index.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("{} cannot be started", python.display()))?;
    let (output, errors) = (child.stdout.take(), child.stderr.take());
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if Instant::now() >= end {
            child.kill()?;
            child.wait()?;
            bail!("no time was left");
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    let text = |stream: &mut dyn Read| {
        let mut text = String::new();
        stream.read_to_string(&mut text).map(|_| text)
    };
    let errors = errors.map(|mut errors| text(&mut errors)).transpose()?.unwrap_or_default();
    ensure!(status.success(), "{}", errors.lines().last().unwrap_or("it failed without a word"));
    let output = output.map(|mut output| text(&mut output)).transpose()?.unwrap_or_default();
    serde_json::from_str(&output).with_context(|| format!("its answer is `{output}`"))
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

const SCRIPT: &str = include_str!("../../peers/gpu_adamw.py");
