//! Manifests beside a job file: `manifests/<shard>.json`, written in each shard's home.
//!
//! The launcher plans with them and opens no file that is not public, not even on one machine. A manifest
//! binds: the job may be stricter than it, never laxer.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use hcrun_engine::data::shard_file::{self, ShardFileError};
use hcrun_protocol::ShardId;
use hcrun_protocol::cluster::Cluster;
use hcrun_protocol::job::Shard;
use hcrun_protocol::manifest::{Sensitivity, ShardManifest};
use hcrun_protocol::residency::{Rule, allowed_zones};

use crate::codes;
use crate::failure::{Failure, Result};
use crate::job_file::JobFile;
use crate::settings::read_bounded;

/// A manifest lists columns, so it may be larger than a settings file.
const MAX_MANIFEST_BYTES: u64 = 16 << 20;

/// Beside the job file.
pub const MANIFESTS: &str = "manifests";

pub fn directory(job_file: &JobFile) -> PathBuf {
    job_file.directory().join(MANIFESTS)
}

pub fn path(job_file: &JobFile, shard: &ShardId) -> PathBuf {
    directory(job_file).join(format!("{shard}.json"))
}

/// Where a shard's file lies on this node.
pub fn data_path(job_file: &JobFile, shard: &Shard) -> Result<PathBuf> {
    let Some(path) = &shard.path else {
        return Err(Failure::new(&codes::FILE_UNREADABLE, format!("shard `{}` has no `path`", shard.id))
            .at(job_file.path.display().to_string())
            .hint("add `path` to the shard, relative to the job file"));
    };
    Ok(job_file.directory().join(path))
}

/// The manifests of all shards of a job, checked against the job file.
pub fn load(job_file: &JobFile, cluster: &Cluster) -> Result<BTreeMap<ShardId, ShardManifest>> {
    let mut manifests = BTreeMap::new();
    for (position, shard) in job_file.job.shards.iter().enumerate() {
        let path = path(job_file, &shard.id);
        let manifest = match (path.exists(), shard.sensitivity) {
            (true, _) => read(&path, shard)?,
            // Anyone may read a public shard, so nobody need index it.
            (false, Sensitivity::Public) => index(job_file, shard)?,
            (false, _) => return Err(missing(job_file, shard, &path)),
        };
        check(job_file, position, &manifest, cluster)?;
        manifests.insert(shard.id.clone(), manifest);
    }
    Ok(manifests)
}

/// Describes a shard by reading its file; to be called in its home.
pub fn index(job_file: &JobFile, shard: &Shard) -> Result<ShardManifest> {
    let path = data_path(job_file, shard)?;
    shard_file::index(&path, shard, &job_file.job.data).map_err(|error| refuse(shard, &error))
}

/// Writes a manifest where [`load`] finds it; says where.
pub fn write(job_file: &JobFile, manifest: &ShardManifest) -> Result<PathBuf> {
    let path = path(job_file, &manifest.id);
    let fail = |error: std::io::Error| {
        Failure::new(&codes::FILE_UNREADABLE, format!("cannot write the manifest of shard `{}`", manifest.id))
            .at(path.display().to_string())
            .caused_by(&error)
    };
    std::fs::create_dir_all(directory(job_file)).map_err(fail)?;
    let mut text = serde_json::to_string_pretty(manifest).expect("a manifest has string keys only");
    text.push('\n');
    std::fs::write(&path, text).map_err(fail)?;
    Ok(path)
}

fn read(path: &Path, shard: &Shard) -> Result<ShardManifest> {
    let fail = |cause: String| {
        Failure::new(&codes::MANIFEST_MALFORMED, format!("cannot use the manifest of shard `{}`", shard.id))
            .at(path.display().to_string())
            .because(cause)
    };
    let bytes = read_bounded(path, MAX_MANIFEST_BYTES).map_err(fail)?;
    let manifest: ShardManifest = serde_json::from_slice(&bytes).map_err(|error| fail(error.to_string()))?;
    if manifest.id != shard.id {
        return Err(fail(format!("it is of shard `{}`", manifest.id)));
    }
    Ok(manifest)
}

fn missing(job_file: &JobFile, shard: &Shard, path: &Path) -> Failure {
    let home = shard.home.as_ref().map_or("its home", |home| home.as_str());
    Failure::new(&codes::MANIFEST_MISSING, format!("shard `{}` has no manifest", shard.id))
        .at(path.display().to_string())
        .because(format!(
            "it is {}, so nobody outside zone `{home}` may open it to describe it",
            shard.sensitivity
        ))
        .hint(format!(
            "in zone `{home}` run `hcrun shard index {} --shard {}` and copy the manifest here",
            job_file.path.display(),
            shard.id
        ))
}

/// Refuses a job that is laxer than a manifest.
fn check(job_file: &JobFile, index: usize, manifest: &ShardManifest, cluster: &Cluster) -> Result<()> {
    let shard = &job_file.job.shards[index];
    let refuse = |key: &str, cause: String| {
        Err(Failure::new(
            &codes::MANIFEST_CONTRADICTS,
            format!("the job is laxer with shard `{}` than its owner", shard.id),
        )
        .at(job_file.find(&format!("shard[{index}].{key}")))
        .because(cause))
    };
    if shard.sensitivity < manifest.sensitivity {
        return refuse(
            "sensitivity",
            format!("the job says {}, the manifest {}", shard.sensitivity, manifest.sensitivity),
        );
    }
    if manifest.home.is_some() && shard.home != manifest.home {
        let name = |home: &Option<hcrun_protocol::ZoneId>| {
            home.as_ref().map_or("none".to_owned(), |home| format!("`{home}`"))
        };
        return refuse(
            "home",
            format!("the job says home {}, the manifest {}", name(&shard.home), name(&manifest.home)),
        );
    }
    // A rule that makes no sense in this cluster is planning's to refuse.
    let (Ok(wanted), Ok(allowed)) =
        (allowed_zones(shard, &cluster.zones), allowed_zones(manifest, &cluster.zones))
    else {
        return Ok(());
    };
    match wanted.difference(&allowed).next() {
        Some(zone) => refuse(
            "allowed_zones",
            format!("the job lets zone `{zone}` hold it, the manifest says {}", Rule::from(manifest).text()),
        ),
        None => Ok(()),
    }
}

fn refuse(shard: &Shard, error: &ShardFileError) -> Failure {
    let code = match error {
        ShardFileError::Table(_) | ShardFileError::Schema { .. } => &codes::DATA_MALFORMED,
        ShardFileError::Size { .. } | ShardFileError::Hash { .. } => &codes::SHARD_CHANGED,
        _ => &codes::FILE_UNREADABLE,
    };
    let failure = Failure::new(code, format!("cannot index shard `{}`", shard.id)).caused_by(error);
    match error {
        // Shown to whoever indexes, who may read the file.
        ShardFileError::Table(table) => match table.local_detail() {
            Some(detail) => failure.because(detail),
            None => failure,
        },
        _ => failure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JOB: &str = r#"name = "demo"
model = { kind = "gpt", layers = 1, width = 8, heads = 1, context = 4 }
data = { format = "text", held_out = 0.2 }
workers = { private = 2 }
train = { loss = "cross-entropy", optimizer = "sgd", learning_rate = 1e-3, batch = 8, steps = 10 }
[[shard]]
id = "one"
path = "one.txt"
sensitivity = "restricted"
home = "private"
"#;

    fn job(directory: &Path, from: &str, to: &str) -> JobFile {
        let path = directory.join("job.toml");
        std::fs::write(&path, JOB.replacen(from, to, 1)).unwrap();
        JobFile::read(&path, None, &[]).unwrap()
    }

    #[test]
    fn only_public_files_are_opened_by_the_launcher() {
        let directory = tempfile::tempdir().unwrap();
        // Were it opened, the error would be that it is not there.
        let restricted = job(directory.path(), "", "");
        let failure = load(&restricted, &Cluster::local()).unwrap_err();
        assert_eq!(failure.code, &codes::MANIFEST_MISSING);
        assert!(failure.hint_text().contains("hcrun shard index"), "{failure}");
        let public = job(directory.path(), "restricted", "public");
        assert_eq!(load(&public, &Cluster::local()).unwrap_err().code, &codes::FILE_UNREADABLE);
        std::fs::write(directory.path().join("one.txt"), "some text to read").unwrap();
        assert_eq!(load(&public, &Cluster::local()).unwrap().len(), 1);
    }

    #[test]
    fn a_job_may_be_stricter_than_a_manifest_but_not_laxer() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("one.txt"), "some text to read").unwrap();
        let indexed = |from: &str, to: &str| {
            let file = job(directory.path(), from, to);
            write(&file, &index(&file, &file.job.shards[0]).unwrap()).unwrap();
        };
        let cluster = Cluster::local();
        indexed("restricted", "internal");
        assert!(load(&job(directory.path(), "", ""), &cluster).is_ok());
        indexed("", "");
        for (from, to) in [
            ("\"restricted\"", "\"public\""),
            ("\"restricted\"", "\"internal\""),
            ("home = \"private\"", "home = \"public\""),
        ] {
            let failure = load(&job(directory.path(), from, to), &cluster).unwrap_err();
            assert_eq!(
                (failure.code, failure.exit_code()),
                (&codes::MANIFEST_CONTRADICTS, 6),
                "{to}: {failure}"
            );
        }
    }

    #[test]
    fn a_manifest_of_another_shard_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("one.txt"), "some text to read").unwrap();
        let file = job(directory.path(), "", "");
        let written = write(&file, &index(&file, &file.job.shards[0]).unwrap()).unwrap();
        let text = std::fs::read_to_string(&written).unwrap();
        for bad in [text.replace("\"one\"", "\"two\""), text[..text.len() / 2].to_owned(), String::new()] {
            std::fs::write(&written, bad).unwrap();
            assert_eq!(load(&file, &Cluster::local()).unwrap_err().code, &codes::MANIFEST_MALFORMED);
        }
    }
}
