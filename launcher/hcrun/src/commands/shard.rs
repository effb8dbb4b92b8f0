//! `hcrun shard index`: describes data files in their home.

use std::path::PathBuf;

use hcrun_protocol::manifest::{Content, Sensitivity, ShardManifest};
use serde::Serialize;

use crate::cli::IndexArgs;
use crate::codes;
use crate::failure::{Failure, Result};
use crate::job_file::JobFile;
use crate::manifests;
use crate::output::Output;
use crate::report::format::count;

#[derive(Serialize)]
struct Indexed {
    path: PathBuf,
    manifest: ShardManifest,
}

pub(crate) fn index(args: &IndexArgs, output: &Output) -> Result<()> {
    let file = JobFile::read(&args.job, None, &[])?;
    let wanted = |shard: &&hcrun_protocol::job::Shard| {
        args.zone.as_ref().is_none_or(|zone| shard.home.as_ref() == Some(&zone.0))
            && args.shard.as_ref().is_none_or(|id| shard.id == id.0)
    };
    let shards: Vec<_> = file.job.shards.iter().filter(wanted).collect();
    if shards.is_empty() {
        return Err(Failure::new(&codes::USAGE, "no shard of the job is as asked for")
            .at(file.path.display().to_string())
            .hint("check --zone and --shard against the job file"));
    }
    // All are read before any is written: a bad file leaves the old manifests together.
    let mut manifests: Vec<ShardManifest> =
        shards.into_iter().map(|shard| manifests::index(&file, shard)).collect::<Result<_>>()?;
    // What is public has no floor.
    for manifest in manifests.iter_mut().filter(|manifest| manifest.sensitivity != Sensitivity::Public) {
        (manifest.min_contributors, manifest.min_rows) = (args.min_contributors, args.min_rows);
    }
    let mut indexed = Vec::new();
    for manifest in manifests {
        indexed.push(Indexed { path: manifests::write(&file, &manifest)?, manifest });
    }
    output.answer(&indexed, || indexed.iter().map(line).collect());
    Ok(())
}

fn line(indexed: &Indexed) -> String {
    let manifest = &indexed.manifest;
    let content = match &manifest.content {
        Content::Text => format!("{} bytes of text", count(manifest.bytes)),
        Content::Csv { rows, columns } => format!("{} rows, {} columns", count(*rows), columns.len()),
    };
    format!("{}: {content}, {} ({})\n", manifest.id, manifest.sensitivity, indexed.path.display())
}
