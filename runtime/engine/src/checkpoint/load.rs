//! Reading a checkpoint, and finding the newest that can be read.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use hcrun_protocol::job::Job;
use hcrun_protocol::manifest::sha256_hex;
use hcrun_protocol::model::ModelProfile;

use super::compressed;
use super::description::ModelDescription;
use super::folder::{self, Kind};
use super::manifest::{CHECKPOINT_SCHEMA, Manifest, SealError};
use super::tensors::{TensorError, decode_arenas, decode_segments};
use super::{Checkpoint, TrainedModel};
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
    #[error(
        "checkpoint {} is compressed: its weights are rounded and it has no state of the optimizer, so training \
         cannot go on from it", path.display()
    )]
    Compressed { path: PathBuf },
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

/// Reads one checkpoint folder to go on from; every byte is checked against its manifest.
pub fn load(path: &Path) -> Result<Checkpoint, LoadError> {
    let reader = Reader { path };
    let manifest = reader.manifest()?;
    if manifest.compression.is_some() {
        return Err(LoadError::Compressed { path: path.to_owned() });
    }
    let (job, model, profile) = reader.described(&manifest)?;
    let params = reader.params(&manifest, &profile)?;
    let bytes = reader.checked(&manifest, folder::OPTIMIZER)?;
    let optimizer = decode_arenas(&bytes, state_names(job.train.optimizer), profile.arena_elems)
        .map_err(|source| reader.tensors(folder::OPTIMIZER, source))?;
    Ok(Checkpoint { meta: manifest.meta, model, params, optimizer })
}

/// Reads the model of one checkpoint folder, compressed or not, as a prediction needs it.
pub fn load_model(path: &Path) -> Result<TrainedModel, LoadError> {
    let reader = Reader { path };
    let manifest = reader.manifest()?;
    let (_, model, profile) = reader.described(&manifest)?;
    let params = reader.params(&manifest, &profile)?;
    Ok(TrainedModel { meta: manifest.meta, model, params, compression: manifest.compression })
}

/// Whether a folder is, or was to be, a checkpoint, compressed or not.
pub fn is_checkpoint(path: &Path) -> bool {
    [folder::MANIFEST, folder::MODEL].iter().any(|file| path.join(file).is_file())
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

    /// The job as it ran, and the model.
    fn described(&self, manifest: &Manifest) -> Result<(Job, ModelDescription, ModelProfile), LoadError> {
        let job = &manifest.meta.job;
        if sha256_hex(job.as_bytes()) != manifest.meta.job_digest {
            let reason = "the job does not have the digest stated".to_owned();
            return Err(self.malformed(folder::MANIFEST, reason));
        }
        let job: Job =
            serde_json::from_str(job).map_err(|error| self.malformed(folder::MANIFEST, error.to_string()))?;
        let description = self.checked(manifest, folder::DESCRIPTION)?;
        let model: ModelDescription = serde_json::from_slice(&description)
            .map_err(|error| self.malformed(folder::DESCRIPTION, error.to_string()))?;
        let spec = model.check().map_err(|error| self.malformed(folder::DESCRIPTION, error.to_string()))?;
        Ok((job, model, spec.profile()))
    }

    /// The arena, restored if it is compressed.
    fn params(&self, manifest: &Manifest, profile: &ModelProfile) -> Result<Vec<f32>, LoadError> {
        let bytes = self.checked(manifest, folder::MODEL)?;
        let (segments, elems) = (&profile.segments, profile.arena_elems);
        match &manifest.compression {
            None => decode_segments(&bytes, segments, elems),
            Some(compression) => compressed::decode(&bytes, compression, segments, elems),
        }
        .map_err(|source| self.tensors(folder::MODEL, source))
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
