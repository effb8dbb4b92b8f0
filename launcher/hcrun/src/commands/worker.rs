//! `hcrun worker`: one worker process of a job.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::process::ExitCode;

use hcrun_protocol::ShardId;
use hcrun_worker::locate::DataLocations;
use hcrun_worker::process::{WorkerError, WorkerSettings};

use crate::cli::{Global, WorkerArgs};
use crate::codes::{self, Code};
use crate::failure::{Failure, Result};
use crate::output::Output;

pub(crate) fn worker(args: &WorkerArgs, _global: &Global, output: &Output) -> Result<ExitCode> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).with_max_level(LOG_LEVEL).init();
    let mut locations = DataLocations { roots: args.data_roots.clone(), ..DataLocations::default() };
    for pair in &args.shards {
        let (id, path) = split_pair(pair)?;
        locations.files.insert(id, path);
    }
    let settings = WorkerSettings {
        bundle: args.bundle.clone(),
        locations,
        parent: args.parent,
        address: args.address,
        build: crate::run::build(),
    };
    output.note("hcrun worker: joining");
    hcrun_worker::process::run(settings).map_err(|error| failure(&error))?;
    output.note("hcrun worker: done");
    Ok(ExitCode::SUCCESS)
}

const LOG_LEVEL: tracing::Level = tracing::Level::INFO;

fn split_pair(pair: &OsStr) -> Result<(ShardId, PathBuf)> {
    let bytes = pair.as_bytes();
    let at = bytes.iter().position(|byte| *byte == b'=');
    let parsed = at.and_then(|at| {
        let id = std::str::from_utf8(&bytes[..at]).ok()?;
        Some((ShardId::new(id).ok()?, PathBuf::from(OsStr::from_bytes(&bytes[at + 1..]))))
    });
    parsed
        .ok_or_else(|| Failure::new(&codes::USAGE, format!("`{}` is not SHARD=PATH", pair.to_string_lossy())))
}

fn failure(error: &WorkerError) -> Failure {
    Failure::new(code(error), "this worker has left the job").caused_by(error)
}

fn code(error: &WorkerError) -> &'static Code {
    match error.exit_code() {
        2 => &codes::SHARD_CHANGED,
        4 => &codes::LINK_FAILED,
        6 => &codes::ASSIGNMENT_REFUSED,
        7 => &codes::INTERNAL,
        _ => &codes::COORDINATOR_LOST,
    }
}
