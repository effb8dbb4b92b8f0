//! `hcrun worker`: one worker process of a job.

use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::process::ExitCode;

use hcrun_engine::trainer::TrainerError;
use hcrun_net::group::{FormError, RoundError};
use hcrun_net::join::{BundleError, JoinError, JoinRefusal};
use hcrun_protocol::ShardId;
use hcrun_protocol::control::{FailureClass, Refusal};
use hcrun_protocol::member::End;
use hcrun_worker::locate::DataLocations;
use hcrun_worker::process::{TrainFailure, WorkerError, WorkerSettings};
use hcrun_worker::session::SessionError;

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
    if let Err(error) = hcrun_worker::process::run(settings) {
        let failure = failure(&error);
        let _ = output.failure(&failure);
        // A closed pipe has nobody to be told.
        let _ = std::io::stdout().flush();
        // Not by exit handlers: the driver's wait for what is on the GPU, which may never end.
        hcrun_kernels::cuda::leave(failure.exit_code());
    }
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
    let failure = Failure::new(code(error), "this worker has left the job").caused_by(error);
    // This process's own output stays in its zone.
    match error.local_detail() {
        Some(detail) => failure.because(detail),
        None => failure,
    }
}

fn code(error: &WorkerError) -> &'static Code {
    match error {
        WorkerError::Bundle(BundleError::Permissions { .. } | BundleError::Owner { .. }) => {
            &codes::SECRET_EXPOSED
        }
        WorkerError::Bundle(_) => &codes::FILE_UNREADABLE,
        WorkerError::Join(JoinError::Refused { source: JoinRefusal::Protocol { .. }, .. })
        | WorkerError::Session(SessionError::Ended(End::Refused(Refusal::Build { .. }))) => {
            &codes::VERSION_DIFFERS
        }
        WorkerError::Join(JoinError::Refused { .. } | JoinError::OtherSlot { .. })
        | WorkerError::Session(SessionError::Ended(End::Refused(_))) => &codes::JOIN_REFUSED,
        WorkerError::Join(_) | WorkerError::Session(SessionError::Connect(_)) => &codes::LAUNCHER_UNREACHABLE,
        WorkerError::Prepare(error) => match error.class() {
            FailureClass::Policy => &codes::ASSIGNMENT_REFUSED,
            FailureClass::Data => &codes::SHARD_CHANGED,
            FailureClass::Device => &codes::GPU_FAILED,
            _ => &codes::INTERNAL,
        },
        WorkerError::Node(_) | WorkerError::Train(TrainFailure::Node(_)) => &codes::GPU_FAILED,
        WorkerError::Lane(_) => &codes::PORT_IN_USE,
        WorkerError::Form(FormError::Aborted { .. }) => &codes::COORDINATOR_LOST,
        WorkerError::Form(_) => &codes::LINK_FAILED,
        WorkerError::Train(TrainFailure::FewContributors { .. } | TrainFailure::FewRows { .. }) => {
            &codes::ASSIGNMENT_REFUSED
        }
        WorkerError::Train(
            TrainFailure::Trainer(TrainerError::Device(_)) | TrainFailure::Round(RoundError::Memory { .. }),
        ) => &codes::GPU_FAILED,
        WorkerError::Train(TrainFailure::Round(_)) => &codes::LINK_LOST,
        WorkerError::Panic { .. } | WorkerError::Harden(_) | WorkerError::Float(_) => &codes::INTERNAL,
        _ => &codes::COORDINATOR_LOST,
    }
}
