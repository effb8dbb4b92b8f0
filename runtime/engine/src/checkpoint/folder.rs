//! The names inside a run's `checkpoints` folder.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use hcrun_protocol::Step;

pub const MODEL: &str = "model.safetensors";
pub(super) const OPTIMIZER: &str = "optimizer.safetensors";
pub(super) const DESCRIPTION: &str = "model.json";
pub(super) const MANIFEST: &str = "MANIFEST.json";
/// Names the newest checkpoint, for people and other programs. Nothing here reads it.
pub(super) const LATEST: &str = "latest";

/// Something in the folder that is or was to be a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) step: Step,
    pub(super) kind: Kind,
    pub(super) path: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// `step-N.tmp-…`: never finished, or being removed. Never loaded.
    Temporary,
    /// `step-N.old`: whole, on its way out because step N is being written again.
    Old,
    /// `step-N`.
    Whole,
}

pub(super) fn whole(root: &Path, step: Step) -> PathBuf {
    root.join(format!("step-{step}"))
}

pub(super) fn old(root: &Path, step: Step) -> PathBuf {
    root.join(format!("step-{step}.old"))
}

pub(super) fn temporary(root: &Path, step: Step, purpose: &str) -> PathBuf {
    root.join(format!("step-{step}.tmp-{purpose}"))
}

/// All entries, the newest whole one first.
pub(super) fn entries(root: &Path) -> io::Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for found in fs::read_dir(root)? {
        let path = found?.path();
        let entry = path.file_name().and_then(|name| name.to_str()).and_then(parse);
        entries.extend(entry.map(|(step, kind)| Entry { step, kind, path: path.clone() }));
    }
    entries.sort_by(|a, b| (b.step, b.kind, &b.path).cmp(&(a.step, a.kind, &a.path)));
    Ok(entries)
}

fn parse(name: &str) -> Option<(Step, Kind)> {
    let rest = name.strip_prefix("step-")?;
    let (digits, ending) = rest.split_once('.').unwrap_or((rest, ""));
    let kind = match ending {
        "" => Kind::Whole,
        "old" => Kind::Old,
        _ if ending.starts_with("tmp-") => Kind::Temporary,
        _ => return None,
    };
    let step: u64 = digits.parse().ok()?;
    // `step-007` is not a name that is ever written.
    (step.to_string() == digits).then_some((Step(step), kind))
}
