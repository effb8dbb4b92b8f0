//! Reading a checkpoint, and finding the newest that can be read.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use hcrun_protocol::job::Job;
use hcrun_protocol::manifest::sha256_hex;

use super::Checkpoint;
use super::description::ModelDescription;
use super::folder::{self, Kind};
use super::manifest::{CHECKPOINT_SCHEMA, Manifest, SealError};
use super::tensors::{TensorError, decode_arenas, decode_segments};
use crate::optimizer::state_names;

/// Why a checkpoint cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("checkpoint {} has no {file}: it was never finished, or the file was removed", path.display())]
    Missing { path: PathBuf, file: String },
    #[error("checkpoint {}: {file} cannot be read", path.display())]
    Read {
        path: PathBuf,
        file: String,
        #[source]
        source: io::Error,
    },
    #[error("checkpoint {}: {file} has {found} bytes, {expected} were written", path.display())]
    Truncated { path: PathBuf, file: String, expected: u64, found: u64 },
    #[error("checkpoint {}: {file} is damaged: its SHA-256 is {found}, {expected} was written", path.display())]
    Damaged { path: PathBuf, file: String, expected: String, found: String },
    #[error(
        "checkpoint {} was written by a newer hcrun (schema {found}, this one reads up to {supported}): use \
         that version", path.display()
    )]
    Newer { path: PathBuf, found: u32, supported: u32 },
    #[error("checkpoint {}: {file} makes no sense: {reason}", path.display())]
    Malformed { path: PathBuf, file: String, reason: String },
    #[error("checkpoint {}: {file} does not hold this model", path.display())]
    Tensors {
        path: PathBuf,
        file: String,
        #[source]
        source: TensorError,
    },
    #[error("checkpoint {} is of {found} steps: the folder was renamed", path.display())]
    Renamed { path: PathBuf, found: u64 },
    #[error("{} cannot be listed", path.display())]
    List {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("there is no checkpoint in {}", path.display())]
    None { path: PathBuf },
    #[error("none of the {} checkpoints in {} can be used; the newest: {}", skipped.len(), path.display(), skipped[0].reason)]
    NoneGood { path: PathBuf, skipped: Vec<Skipped> },
}

/// A checkpoint that was passed over.
#[derive(Debug)]
pub struct Skipped {
    pub path: PathBuf,
    pub reason: LoadError,
}

/// The newest checkpoint that can be used.
#[derive(Debug)]
pub struct Found {
    pub checkpoint: Checkpoint,
    pub path: PathBuf,
    /// Newer ones, the newest first. Whoever goes on from an older checkpoint has to say so.
    pub skipped: Vec<Skipped>,
}

/// The newest checkpoint of a run's `checkpoints` folder that can be used.
pub fn latest_good(root: &Path) -> Result<Found, LoadError> {
    let path = root.to_owned();
    let entries = match folder::entries(root) {
        Ok(entries) => entries,
        Err(source) if source.kind() == io::ErrorKind::NotFound => return Err(LoadError::None { path }),
        Err(source) => return Err(LoadError::List { path, source }),
    };
    let mut skipped = Vec::new();
    for entry in entries.into_iter().filter(|entry| entry.kind != Kind::Temporary) {
        match load(&entry.path) {
            Ok(checkpoint) if checkpoint.meta.step == entry.step => {
                return Ok(Found { checkpoint, path: entry.path, skipped });
            }
            Ok(checkpoint) => {
                let reason = LoadError::Renamed { path: entry.path.clone(), found: checkpoint.meta.step.0 };
                skipped.push(Skipped { path: entry.path, reason });
            }
            Err(reason) => skipped.push(Skipped { path: entry.path, reason }),
        }
    }
    if skipped.is_empty() {
        Err(LoadError::None { path })
    } else {
        Err(LoadError::NoneGood { path, skipped })
    }
}

/// Reads one checkpoint folder; every byte is checked against its manifest.
pub fn load(path: &Path) -> Result<Checkpoint, LoadError> {
    let reader = Reader { path };
    let manifest = reader.manifest()?;
    let malformed = |file: &str, reason: String| reader.malformed(file, reason);

    let job = &manifest.meta.job;
    if sha256_hex(job.as_bytes()) != manifest.meta.job_digest {
        return Err(malformed(folder::MANIFEST, "the job does not have the digest stated".to_owned()));
    }
    let job: Job =
        serde_json::from_str(job).map_err(|error| malformed(folder::MANIFEST, error.to_string()))?;

    let description = reader.checked(&manifest, folder::DESCRIPTION)?;
    let model: ModelDescription = serde_json::from_slice(&description)
        .map_err(|error| malformed(folder::DESCRIPTION, error.to_string()))?;
    let spec = model.check().map_err(|error| malformed(folder::DESCRIPTION, error.to_string()))?;
    let profile = spec.profile();

    let bytes = reader.checked(&manifest, folder::MODEL)?;
    let params = decode_segments(&bytes, &profile.segments, profile.arena_elems)
        .map_err(|source| reader.tensors(folder::MODEL, source))?;
    let bytes = reader.checked(&manifest, folder::OPTIMIZER)?;
    let optimizer = decode_arenas(&bytes, state_names(job.train.optimizer), profile.arena_elems)
        .map_err(|source| reader.tensors(folder::OPTIMIZER, source))?;
    Ok(Checkpoint { meta: manifest.meta, model, params, optimizer })
}

struct Reader<'a> {
    path: &'a Path,
}

impl Reader<'_> {
    fn manifest(&self) -> Result<Manifest, LoadError> {
        let (path, file) = (|| self.path.to_owned(), || folder::MANIFEST.to_owned());
        let text = self.read(folder::MANIFEST, MAX_MANIFEST_BYTES)?;
        if text.len() as u64 > MAX_MANIFEST_BYTES {
            return Err(self.malformed(folder::MANIFEST, format!("more than {MAX_MANIFEST_BYTES} bytes")));
        }
        Manifest::open(&text).map_err(|error| match error {
            SealError::Newer(found) => LoadError::Newer { path: path(), found, supported: CHECKPOINT_SCHEMA },
            other => LoadError::Malformed { path: path(), file: file(), reason: other.to_string() },
        })
    }

    /// A file, exactly as the manifest describes it.
    fn checked(&self, manifest: &Manifest, file: &str) -> Result<Vec<u8>, LoadError> {
        let entry = manifest.files.get(file);
        let entry = entry
            .ok_or_else(|| self.malformed(folder::MANIFEST, format!("the manifest does not list {file}")))?;
        let bytes = self.read(file, entry.bytes)?;
        let (path, file) = (self.path.to_owned(), file.to_owned());
        if bytes.len() as u64 != entry.bytes {
            // One byte more than expected is read at most, so ask how long the file really is.
            let found = fs::metadata(path.join(&file)).map_or(bytes.len() as u64, |file| file.len());
            return Err(LoadError::Truncated { path, file, expected: entry.bytes, found });
        }
        let found = sha256_hex(&bytes);
        if found != entry.sha256 {
            return Err(LoadError::Damaged { path, file, expected: entry.sha256.clone(), found });
        }
        Ok(bytes)
    }

    /// At most one byte more than `limit`.
    fn read(&self, file: &str, limit: u64) -> Result<Vec<u8>, LoadError> {
        use io::Read;
        let (path, name) = (self.path.to_owned(), file.to_owned());
        let mut bytes = Vec::new();
        let read = fs::File::open(path.join(file))
            .and_then(|open| open.take(limit.saturating_add(1)).read_to_end(&mut bytes));
        match read {
            Ok(_) => Ok(bytes),
            Err(source) if source.kind() == io::ErrorKind::NotFound => {
                Err(LoadError::Missing { path, file: name })
            }
            Err(source) => Err(LoadError::Read { path, file: name, source }),
        }
    }

    fn malformed(&self, file: &str, reason: String) -> LoadError {
        LoadError::Malformed { path: self.path.to_owned(), file: file.to_owned(), reason }
    }

    fn tensors(&self, file: &str, source: TensorError) -> LoadError {
        LoadError::Tensors { path: self.path.to_owned(), file: file.to_owned(), source }
    }
}

const MAX_MANIFEST_BYTES: u64 = 4 << 20;
