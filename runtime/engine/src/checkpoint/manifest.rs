//! `MANIFEST.json`: what a checkpoint belongs to, and the digest of each of its files.

use std::collections::BTreeMap;

use hcrun_protocol::job::Job;
use hcrun_protocol::manifest::sha256_hex;
use hcrun_protocol::placement::Placement;
use hcrun_protocol::{Rank, Step, ZoneId};
use serde::{Deserialize, Serialize};

use super::compressed::Compression;

/// Version of the files. A program reads its own and older ones.
pub const CHECKPOINT_SCHEMA: u32 = 3;

/// Before node groups were in it.
const COMPRESSED_SCHEMA: u32 = 2;
/// Before compression.
const PLAIN_SCHEMA: u32 = 1;

/// What a checkpoint belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Meta {
    /// [`Job::digest`] of the job as it ran.
    pub job_digest: String,
    /// [`Job::canonical_json`], as text so that the digest is of these bytes.
    pub job: String,
    /// Updates that are in the parameters; the next step to train is this one. Names the folder.
    pub step: Step,
    pub seed: u64,
    /// The step whose batch is drawn next: positions in the data follow from it alone.
    pub cursor: u64,
    /// Who computed, in rank order.
    pub workers: Vec<WorkerPlace>,
    /// Version and source revision of the program.
    pub build: String,
    pub cpu_features: String,
    /// Who summed among themselves inside a node, and by what, in words; sums have that library's order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub node_groups: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkerPlace {
    pub rank: Rank,
    pub slot: String,
    pub zone: ZoneId,
}

impl Meta {
    pub fn new(job: &Job, step: Step, placement: &Placement, build: &str, cpu_features: &str) -> Meta {
        let places = placement.workers.iter().map(|worker| WorkerPlace {
            rank: worker.rank,
            slot: worker.slot.to_string(),
            zone: worker.zone.clone(),
        });
        Meta {
            job_digest: job.digest(),
            job: job.canonical_json(),
            step,
            seed: job.seed,
            cursor: step.0,
            workers: places.collect(),
            build: build.to_owned(),
            cpu_features: cpu_features.to_owned(),
            node_groups: Vec::new(),
        }
    }

    /// What differs between two runs that keeps one from going on with the other's bits.
    pub fn differences(&self, other: &Meta) -> Vec<&'static str> {
        let differ = [
            ("build", self.build != other.build),
            ("CPU features", self.cpu_features != other.cpu_features),
            ("placement", self.workers != other.workers),
        ];
        differ.into_iter().filter_map(|(name, differs)| differs.then_some(name)).collect()
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileEntry {
    pub bytes: u64,
    pub sha256: String,
}

impl FileEntry {
    pub(super) fn of(bytes: &[u8]) -> FileEntry {
        FileEntry { bytes: bytes.len() as u64, sha256: sha256_hex(bytes) }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    pub meta: Meta,
    /// SHA-256 of the manifest of the checkpoint before it in the folder, if there was one.
    pub parent: Option<String>,
    /// By file name.
    pub files: BTreeMap<String, FileEntry>,
    /// How the matrices are packed; only of a compressed checkpoint, whose parent is the one it was made of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compression: Option<Compression>,
}

/// The file: the manifest, and a digest of it, so that a changed step or job is found too.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sealed {
    schema: u32,
    manifest: Manifest,
    /// SHA-256 of `manifest` as compact JSON.
    sha256: String,
}

/// Read before anything else, whatever else is there.
#[derive(Deserialize)]
struct Version {
    schema: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum SealError {
    #[error("schema {0}")]
    Newer(u32),
    #[error("{0}")]
    Malformed(String),
    #[error("its text does not have the digest that it states")]
    Digest,
}

impl Manifest {
    pub(super) fn seal(self) -> Vec<u8> {
        let schema = self.schema();
        let sealed = Sealed { schema, sha256: self.digest(), manifest: self };
        let mut text = serde_json::to_vec_pretty(&sealed).expect("names and numbers");
        text.push(b'\n');
        text
    }

    /// The oldest that has all that is in it, so that programs of before read what they can.
    fn schema(&self) -> u32 {
        match (self.meta.node_groups.is_empty(), &self.compression) {
            (false, _) => CHECKPOINT_SCHEMA,
            (true, Some(_)) => COMPRESSED_SCHEMA,
            (true, None) => PLAIN_SCHEMA,
        }
    }

    pub(super) fn open(text: &[u8]) -> Result<Manifest, SealError> {
        let malformed = |error: serde_json::Error| SealError::Malformed(error.to_string());
        let Version { schema } = serde_json::from_slice(text).map_err(malformed)?;
        if schema > CHECKPOINT_SCHEMA {
            return Err(SealError::Newer(schema));
        }
        let sealed: Sealed = serde_json::from_slice(text).map_err(malformed)?;
        if sealed.manifest.digest() != sealed.sha256 {
            return Err(SealError::Digest);
        }
        Ok(sealed.manifest)
    }

    pub(super) fn digest(&self) -> String {
        sha256_hex(&serde_json::to_vec(self).expect("names and numbers"))
    }
}
