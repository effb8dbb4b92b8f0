//! Writing a checkpoint so that no instant is without a whole one.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use hcrun_protocol::Step;

use super::Checkpoint;
use super::compressed;
use super::description::{DescriptionError, ModelDescription};
use super::files::{Disk, Files};
use super::folder::{self, Entry, Kind};
use super::manifest::{FileEntry, Manifest, Meta};
use super::tensors::{encode_arenas, encode_segments};
use crate::compress::{Packed, Settings};

/// Why there is no new checkpoint. Those before it are untouched.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    #[error(
        "the disk is full: the checkpoint after {step} steps needs {} MiB at {}; free some space, or move \
         the run with `--runs-dir`",
        bytes.div_ceil(1 << 20), path.display()
    )]
    DiskFull { step: Step, bytes: u64, path: PathBuf },
    #[error("the checkpoint after {step} steps cannot be written: {operation} {} failed", path.display())]
    Io {
        step: Step,
        operation: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the model's description makes no sense")]
    Description(#[from] DescriptionError),
    #[error("{name} has {got} elements, the model's arena {expected}")]
    Length { name: String, got: usize, expected: usize },
}

/// A checkpoint that is on the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    pub path: PathBuf,
    pub bytes: u64,
}

/// Writes a checkpoint into `root`, a run's `checkpoints` folder, and keeps the newest `keep` of them.
///
/// When it returns, the checkpoint is on the disk. Checkpoints of later steps are removed: the run went
/// back behind them.
pub fn write(root: &Path, checkpoint: &Checkpoint, keep: usize) -> Result<Written, WriteError> {
    write_with(&mut Disk, root, checkpoint, keep)
}

/// Writes a compressed checkpoint as the folder `out`, made of the checkpoint `source`.
///
/// When it returns, the whole of it is on the disk; before, there is nothing of this name. An `out` that exists is
/// kept unless it is an empty folder.
pub fn write_compressed(
    out: &Path,
    source: &Path,
    meta: &Meta,
    model: &ModelDescription,
    packed: &[Packed],
    settings: &Settings,
) -> Result<Written, WriteError> {
    write_compressed_with(&mut Disk, out, source, meta, model, packed, settings)
}

pub(super) fn write_compressed_with(
    files: &mut dyn Files,
    out: &Path,
    source: &Path,
    meta: &Meta,
    model: &ModelDescription,
    packed: &[Packed],
    settings: &Settings,
) -> Result<Written, WriteError> {
    model.check()?;
    let (tensors, compression) = compressed::encode(packed, settings);
    let contents = vec![(folder::MODEL, tensors), (folder::DESCRIPTION, describe(model))];
    let bytes = contents.iter().map(|(_, content)| content.len() as u64).sum();
    let root = match out.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    let mut temporary = out.as_os_str().to_owned();
    temporary.push(format!(".tmp-{}", std::process::id()));
    let temporary = PathBuf::from(temporary);
    let mut writer = Writer { files, root, step: meta.step, bytes };
    let manifest = Manifest {
        meta: meta.clone(),
        parent: manifest_digest(source),
        files: BTreeMap::new(),
        compression: Some(compression),
    };
    let stored = writer.store(&temporary, contents, manifest).and_then(|()| {
        // Takes the place of an empty folder, and of no other.
        writer.apply("renaming", &temporary, |files, path| files.rename(path, out))?;
        writer.apply("syncing", root, |files, path| files.sync(path))
    });
    if let Err(error) = stored {
        if temporary.is_dir() {
            let _ = writer.files.remove_folder(&temporary);
        }
        return Err(error);
    }
    Ok(Written { path: out.to_owned(), bytes })
}

pub(super) fn write_with(
    files: &mut dyn Files,
    root: &Path,
    checkpoint: &Checkpoint,
    keep: usize,
) -> Result<Written, WriteError> {
    let step = checkpoint.meta.step;
    let contents = contents(checkpoint)?;
    let bytes = contents.iter().map(|(_, content)| content.len() as u64).sum();
    let mut writer = Writer { files, root, step, bytes };
    writer.sweep();
    let temporary = folder::temporary(root, step, &std::process::id().to_string());
    let manifest = Manifest {
        meta: checkpoint.meta.clone(),
        parent: writer.parent(),
        files: BTreeMap::new(),
        compression: None,
    };
    let stored = writer.store(&temporary, contents, manifest);
    if let Err(error) = stored.and_then(|()| writer.publish(&temporary)) {
        if temporary.is_dir() {
            // As far as it goes: what stays behind is swept by the next write.
            let _ = writer.files.remove_folder(&temporary);
        }
        return Err(error);
    }
    writer.prune(keep);
    Ok(Written { path: folder::whole(root, step), bytes })
}

/// The files but the manifest.
fn contents(checkpoint: &Checkpoint) -> Result<Vec<(&'static str, Vec<u8>)>, WriteError> {
    let profile = checkpoint.model.check()?.profile();
    let expected = profile.arena_elems;
    let parameters = ("parameters", checkpoint.params.len());
    let states = checkpoint.optimizer.iter().map(|(name, arena)| (name.as_str(), arena.len()));
    if let Some((name, got)) = [parameters].into_iter().chain(states).find(|(_, got)| *got != expected) {
        return Err(WriteError::Length { name: name.to_owned(), got, expected });
    }
    Ok(vec![
        (folder::MODEL, encode_segments(&profile.segments, &checkpoint.params)),
        (folder::OPTIMIZER, encode_arenas(&checkpoint.optimizer)),
        (folder::DESCRIPTION, describe(&checkpoint.model)),
    ])
}

fn describe(model: &ModelDescription) -> Vec<u8> {
    let mut text = serde_json::to_vec_pretty(model).expect("string keys and finite numbers: check");
    text.push(b'\n');
    text
}

fn manifest_digest(checkpoint: &Path) -> Option<String> {
    let text = fs::read(checkpoint.join(folder::MANIFEST)).ok()?;
    Some(Manifest::open(&text).ok()?.digest())
}

struct Writer<'a> {
    files: &'a mut dyn Files,
    root: &'a Path,
    step: Step,
    bytes: u64,
}

impl Writer<'_> {
    /// Everything under the temporary name, and on the disk.
    fn store(
        &mut self,
        temporary: &Path,
        contents: Vec<(&'static str, Vec<u8>)>,
        mut manifest: Manifest,
    ) -> Result<(), WriteError> {
        if !self.root.is_dir() {
            self.apply("creating", self.root, |files, path| files.create_folder(path))?;
        }
        self.apply("creating", temporary, |files, path| files.create_folder(path))?;
        for (name, content) in contents {
            manifest.files.insert(name.to_owned(), FileEntry::of(&content));
            self.write_synced(&temporary.join(name), &content)?;
        }
        self.write_synced(&temporary.join(folder::MANIFEST), &manifest.seal())?;
        self.apply("syncing", temporary, |files, path| files.sync(path))
    }

    /// The temporary folder becomes `step-N`. One of this name that is already there is moved aside, not
    /// removed, until the new one has its place: loading finds it in between.
    fn publish(&mut self, temporary: &Path) -> Result<(), WriteError> {
        let (root, step) = (self.root, self.step);
        let whole = folder::whole(root, step);
        let old = folder::old(root, step);
        if whole.is_dir() {
            if old.is_dir() {
                // The one that stands is newer.
                self.apply("removing", &old, |files, path| files.remove_folder(path))?;
            }
            self.apply("renaming", &whole, |files, path| files.rename(path, &old))?;
        }
        self.apply("renaming", temporary, |files, path| files.rename(path, &whole))?;
        self.apply("syncing", root, |files, path| files.sync(path))?;
        let latest = root.join(folder::LATEST);
        let next = root.join(format!("{}.tmp", folder::LATEST));
        self.write_synced(&next, format!("step-{step}\n").as_bytes())?;
        self.apply("renaming", &next, |files, path| files.rename(path, &latest))?;
        self.apply("syncing", root, |files, path| files.sync(path))
    }

    /// Removes what an interrupted write or removal has left.
    fn sweep(&mut self) {
        for entry in self.entries().into_iter().filter(|entry| entry.kind == Kind::Temporary) {
            // It costs space and nothing else; the next write tries again.
            let _ = self.files.remove_folder(&entry.path);
        }
    }

    /// Removes checkpoints beyond the newest `keep`, those of later steps, and the one replaced. What
    /// fails is tried again after the next write.
    fn prune(&mut self, keep: usize) {
        let step = self.step;
        let (later, others): (Vec<Entry>, Vec<Entry>) =
            self.entries().into_iter().partition(|entry| entry.step > step);
        let (whole, old): (Vec<Entry>, Vec<Entry>) =
            others.into_iter().partition(|entry| entry.kind == Kind::Whole);
        let replaced = old.into_iter().filter(|entry| entry.kind == Kind::Old);
        for entry in later.into_iter().chain(replaced).chain(whole.into_iter().skip(keep.max(1))) {
            // Under a temporary name first: a half removed checkpoint must not look like a damaged one.
            let gone = folder::temporary(self.root, entry.step, "gone");
            if self.files.rename(&entry.path, &gone).is_ok() {
                let _ = self.files.remove_folder(&gone);
            }
        }
    }

    fn parent(&self) -> Option<String> {
        let newest = self.entries().into_iter().find(|entry| entry.kind == Kind::Whole)?;
        manifest_digest(&newest.path)
    }

    fn entries(&self) -> Vec<Entry> {
        folder::entries(self.root).unwrap_or_default()
    }

    fn write_synced(&mut self, path: &Path, bytes: &[u8]) -> Result<(), WriteError> {
        self.apply("writing", path, |files, path| files.write(path, bytes))?;
        self.apply("syncing", path, |files, path| files.sync(path))
    }

    fn apply(
        &mut self,
        operation: &'static str,
        path: &Path,
        act: impl FnOnce(&mut dyn Files, &Path) -> io::Result<()>,
    ) -> Result<(), WriteError> {
        act(self.files, path).map_err(|source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                WriteError::DiskFull { step: self.step, bytes: self.bytes, path: self.root.to_owned() }
            }
            _ => WriteError::Io { step: self.step, operation, path: path.to_owned(), source },
        })
    }
}
