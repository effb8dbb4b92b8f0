//! Held-out rows of a run's shards, as far as they may be opened here.
//!
//! As everywhere in the launcher, only public files are opened unasked. Others are opened when they are named, which
//! is for those to do who may read them, as it is with `hcrun shard index`; and never shards together that no zone
//! may hold together.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use hcrun_engine::checkpoint::TrainedModel;
use hcrun_engine::data::shard_file::{ShardFileError, open_checked};
use hcrun_engine::data::{Dataset, MicroBatch};
use hcrun_protocol::ShardId;
use hcrun_protocol::ZoneId;
use hcrun_protocol::cluster::Cluster;
use hcrun_protocol::job::{Job, Shard};
use hcrun_protocol::manifest::{Sensitivity, ShardManifest};
use hcrun_protocol::residency::{Rule, allowed_zones};
use serde::Serialize;

use crate::codes;
use crate::failure::{Failure, Result};
use crate::job_file::JobFile;
use crate::run_dir::{RunDir, files};
use crate::{cluster_file, manifests};

pub(crate) struct HeldOut {
    pub(crate) batches: Vec<MicroBatch>,
    /// Rows, or windows of a text.
    pub(crate) rows: u64,
    pub(crate) shards: Vec<ShardId>,
    pub(crate) not_opened: Vec<NotOpened>,
}

/// A shard whose held-out rows nothing is said about.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct NotOpened {
    /// None: all of them.
    pub(crate) shard: Option<ShardId>,
    pub(crate) why: String,
}

/// Rows of a batch.
const BATCH: usize = 64;

pub(crate) fn open(
    run: Option<&RunDir>,
    trained: &TrainedModel,
    named: &[String],
    rows: Option<u64>,
) -> Result<HeldOut> {
    let Some(run) = run else {
        if !named.is_empty() {
            return Err(Failure::new(&codes::USAGE, "--data needs a run")
                .because("the checkpoint is in no run directory, so nothing says what its shards are")
                .hint("name the run, or copy its whole directory here"));
        }
        let why = "the checkpoint is in no run directory, so its data is not known here".to_owned();
        let not_opened = vec![NotOpened { shard: None, why }];
        return Ok(HeldOut { batches: Vec::new(), rows: 0, shards: Vec::new(), not_opened });
    };
    let shards = Shards::read(run, named)?;
    shards.check_zones()?;
    let (mut opened, mut not_opened) = (Vec::new(), Vec::new());
    for shard in &shards.file.job.shards {
        match shards.open(shard)? {
            Ok(bytes) => opened.push((&shards.manifests[&shard.id], bytes)),
            Err(why) => not_opened.push(NotOpened { shard: Some(shard.id.clone()), why }),
        }
    }
    let shards = opened.iter().map(|(manifest, _)| manifest.id.clone()).collect();
    let (batches, rows) = batches(trained, opened, rows)?;
    Ok(HeldOut { batches, rows, shards, not_opened })
}

struct Shards {
    file: JobFile,
    cluster: Cluster,
    manifests: BTreeMap<ShardId, ShardManifest>,
    /// Paths of those that were named; none is the job's.
    named: BTreeMap<ShardId, Option<PathBuf>>,
}

impl Shards {
    fn read(run: &RunDir, named: &[String]) -> Result<Shards> {
        let file = JobFile::read(&run.file(files::JOB), None, &[])?;
        let cluster = cluster_file::load(None, &file.directory())?;
        let manifests = manifests::load(&file, &cluster)?;
        let mut by_id = BTreeMap::new();
        for text in named {
            let (id, path) = text.split_once('=').map_or((&text[..], None), |(id, path)| (id, Some(path)));
            let Some(shard) = file.job.shards.iter().find(|shard| shard.id.as_str() == id) else {
                let ids: Vec<&str> = file.job.shards.iter().map(|shard| shard.id.as_str()).collect();
                return Err(Failure::new(&codes::USAGE, format!("the job has no shard `{id}`"))
                    .at(file.path.display().to_string())
                    .hint(format!("name one of {} with --data", ids.join(", "))));
            };
            by_id.insert(shard.id.clone(), path.map(PathBuf::from));
        }
        Ok(Shards { file, cluster, manifests, named: by_id })
    }

    /// One process is in one zone: it has to be able to hold all that is opened.
    fn check_zones(&self) -> Result<()> {
        let mut common: Option<BTreeSet<ZoneId>> = None;
        for shard in self.file.job.shards.iter().filter(|shard| self.named.contains_key(&shard.id)) {
            for rule in [Rule::from(shard), Rule::from(&self.manifests[&shard.id])] {
                let zones = allowed_zones(rule, &self.cluster.zones).map_err(|error| {
                    Failure::new(&codes::CLUSTER_INVALID, "a shard's rule does not fit the run's cluster")
                        .caused_by(&error)
                })?;
                common = Some(common.map_or(zones.clone(), |common| &common & &zones));
            }
        }
        if common.is_none_or(|zones| !zones.is_empty()) {
            return Ok(());
        }
        let mut failure = Failure::new(&codes::SHARDS_APART, "no zone may hold these shards together");
        for id in self.named.keys() {
            failure = failure.because(format!("`{id}` is {}", Rule::from(&self.manifests[id]).text()));
        }
        Err(failure)
    }

    /// The bytes of a shard, or why it is left out. One that was named has to be there.
    fn open(&self, shard: &Shard) -> Result<std::result::Result<Vec<u8>, String>> {
        let manifest = &self.manifests[&shard.id];
        let named = self.named.get(&shard.id);
        if named.is_none() && shard.sensitivity.max(manifest.sensitivity) != Sensitivity::Public {
            let rule = Rule::from(manifest).text();
            return Ok(Err(format!("{rule}; in such a zone, its owner may name it: --data {}", shard.id)));
        }
        let path = match (named, &shard.path) {
            (Some(Some(path)), _) => path.clone(),
            (None, None) => return Ok(Err("the job does not say where its file lies".to_owned())),
            _ => manifests::data_path(&self.file, shard)?,
        };
        match open_checked(manifest, &path) {
            Ok(bytes) => Ok(Ok(bytes)),
            Err(error) if named.is_none() => Ok(Err(error.to_string())),
            Err(error) => {
                let code = match error {
                    ShardFileError::Size { .. } | ShardFileError::Hash { .. } => &codes::SHARD_CHANGED,
                    _ => &codes::FILE_UNREADABLE,
                };
                Err(Failure::new(code, format!("cannot evaluate on shard `{}`", shard.id)).caused_by(&error))
            }
        }
    }
}

/// What training held out, by the job as it ran; each shard is a class of its own.
fn batches(
    trained: &TrainedModel,
    opened: Vec<(&ShardManifest, Vec<u8>)>,
    most: Option<u64>,
) -> Result<(Vec<MicroBatch>, u64)> {
    let unfit = |error: &dyn std::error::Error| {
        Failure::new(&codes::DATA_MALFORMED, "cannot evaluate on held-out rows").caused_by(error)
    };
    let job: Job = serde_json::from_str(&trained.meta.job).map_err(|error| unfit(&error))?;
    let mut data =
        Dataset::new(&job, trained.model.schema.clone(), opened.len()).map_err(|error| unfit(&error))?;
    if let Some(statistics) = &trained.model.statistics {
        data.set_statistics(statistics.clone());
    }
    let mut held_out = Vec::new();
    for (class, (manifest, bytes)) in opened.into_iter().enumerate() {
        data.add(class, manifest, bytes).map_err(|error| unfit(&error))?;
        held_out.push(data.samples(class).held_out);
    }
    let all: u64 = held_out.iter().sum();
    let rows = most.map_or(all, |most| most.min(all));
    let parts: Vec<_> =
        parts(&held_out, rows).into_iter().enumerate().map(|(class, count)| (class, 0..count)).collect();
    let batches = data.held_out_batches(&parts, BATCH).map_err(|error| unfit(&error))?;
    Ok((batches, rows))
}

/// `rows` of all, in proportion, none more than there are.
fn parts(held_out: &[u64], rows: u64) -> Vec<u64> {
    let all: u64 = held_out.iter().sum();
    let bound =
        |before: u64| (u128::from(before) * u128::from(rows)).checked_div(u128::from(all)).unwrap_or(0);
    let mut before = 0;
    let part = |count: &u64| {
        let start = bound(before);
        before += count;
        u64::try_from(bound(before) - start).expect("at most the rows of this shard")
    };
    held_out.iter().map(part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_in_proportion_and_whole() {
        assert_eq!(parts(&[10, 0, 30], 40), [10, 0, 30]);
        assert_eq!(parts(&[10, 0, 30], 4), [1, 0, 3]);
        assert_eq!(parts(&[10, 0, 30], 1), [0, 0, 1]);
        assert_eq!(parts(&[], 0), [0; 0]);
        assert_eq!(parts(&[0], 0), [0]);
    }
}
