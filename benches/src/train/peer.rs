//! The peer's side: four processes of PyTorch's DDP over Gloo.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};
use serde::Deserialize;

use super::options::Options;
use super::outcome::{Border, Steps};
use super::workload::{WORKERS, Workload};
use crate::link::{Counted, Link};
use crate::processes::{Started, end_all};

/// What gradients are sent as, and the script's word for it.
pub(crate) const HOOKS: [(&str, &str); 2] = [("f32", "none"), ("bf16", "bf16")];

/// What rank 0 prints at the end.
#[derive(Deserialize)]
struct Answer {
    parameters: usize,
    interface_sent_bytes: u64,
    interface_received_bytes: u64,
    #[serde(flatten)]
    steps: Steps,
}

/// Python and torch, as the results name them.
pub(crate) fn versions(python: &Path) -> anyhow::Result<String> {
    let script =
        "import platform, torch; print('torch', torch.__version__, 'python', platform.python_version())";
    let output = Command::new(python).args(["-c", script]).output();
    let output = output.with_context(|| format!("cannot start {}: see --python", python.display()))?;
    let why = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{} has no torch: pip install torch numpy\n{why}", python.display());
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

pub(crate) fn train(
    options: &Options,
    codec: &str,
    workload: &Workload,
    link: &Link,
    folder: &Path,
) -> anyhow::Result<(Steps, Border)> {
    let settings = workload.write_for_peer(folder, options.bucket_mib)?;
    let (_, hook) = HOOKS.iter().find(|(name, _)| *name == codec).context("a codec of the peer")?;
    let mut all = Vec::new();
    for rank in 0..WORKERS {
        let host = usize::from(rank >= WORKERS / 2);
        let mut command = link.command(host, &options.python);
        command.arg(crate::root().join("benches/peers/ddp_gpt.py")).arg("--settings").arg(&settings);
        // All hosts are this machine, so ranks find each other by a file and need no free port.
        command.args(["--init", &format!("file://{}", folder.join("ranks").display())]);
        command.args(["--rank", &rank.to_string(), "--world", &WORKERS.to_string(), "--hook", hook]);
        command.args(["--interface", &link.interface(host)?]);
        all.push(Started::start(&format!("rank-{rank}"), command, folder)?);
    }
    let ended = end_all(all, workload.limit())?;
    let line = ended[0].stdout()?;
    let answer: Answer = serde_json::from_str(&line).with_context(|| format!("rank 0 printed `{line}`"))?;
    let (got, expected) = (answer.parameters, workload.parameters());
    ensure!(got == expected, "the peer's model has {got} parameters, hcrun's {expected}: not the same model");
    let border = border(codec, workload, link, &answer);
    Ok((answer.steps, border))
}

/// Gloo's ring sends 2 (n - 1) / n of a buffer over each of its links, and two of them cross the border, one
/// in each direction.
fn border(codec: &str, workload: &Workload, link: &Link, answer: &Answer) -> Border {
    let elem_bytes = if codec == "bf16" { 2 } else { 4 };
    let gradient = workload.parameters() as u64 * elem_bytes;
    let ring = 2 * gradient * u64::from(WORKERS - 1) / u64::from(WORKERS) * workload.steps() as u64;
    let counted = Counted { sent: answer.interface_sent_bytes, received: answer.interface_received_bytes };
    Border { sent: ring, received: ring, interface: link.is_laboratory().then_some(counted) }
}
