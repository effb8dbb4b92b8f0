//! Backend `local`: workers are processes of this machine, started by the launcher.
//!
//! A worker is a process group of its own, so that Ctrl-C reaches the launcher alone, which then stops the
//! workers in order. It dies with the launcher (parent-death signal), its command line names only the files its
//! zone may hold, and it gets no environment, but for where CUDA lies if it computes on a GPU.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use hcrun_protocol::coordinator::Exit;
use hcrun_protocol::{ShardId, SlotId};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::{Child, Command};
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::JoinHandle;

/// One worker to start.
#[derive(Debug)]
pub(super) struct Start {
    pub(super) slot: SlotId,
    pub(super) bundle: PathBuf,
    /// Only what the slot's zone may hold.
    pub(super) files: Vec<(ShardId, PathBuf)>,
    pub(super) log: PathBuf,
    /// Whether it computes on a GPU.
    pub(super) gpu: bool,
}

/// What a worker on a GPU may know of the launcher's environment: where driver, compiler, libraries and cache are, and
/// which GPUs it may see.
const CUDA_VARIABLES: [&str; 16] = [
    "LD_LIBRARY_PATH",
    "CUDA_VISIBLE_DEVICES",
    "CUDA_HOME",
    "CUDA_PATH",
    "HCRUN_KERNELS",
    "HCRUN_NVRTC",
    "HCRUN_CUBLASLT",
    "HCRUN_NCCL",
    "NCCL_DEBUG",
    "NCCL_P2P_DISABLE",
    "NCCL_SHM_DISABLE",
    "HCRUN_CACHE",
    "XDG_CACHE_HOME",
    "HOME",
    "VIRTUAL_ENV",
    "CONDA_PREFIX",
];

#[derive(Debug, thiserror::Error)]
pub(super) enum StartError {
    #[error("cannot find this program's own file")]
    Program(#[source] std::io::Error),
    #[error("cannot create the log {path}", path = .path.display())]
    Log { path: PathBuf, source: std::io::Error },
    #[error("cannot start the process of slot {slot}")]
    Spawn { slot: SlotId, source: std::io::Error },
}

/// The workers of this machine.
#[derive(Debug)]
pub(super) struct LocalBackend {
    groups: BTreeMap<SlotId, Pid>,
    waits: Vec<JoinHandle<()>>,
}

impl LocalBackend {
    /// Starts all workers; their ends arrive on `exits`.
    pub(super) fn start(
        starts: &[Start],
        exits: &UnboundedSender<(SlotId, Exit)>,
    ) -> Result<LocalBackend, StartError> {
        let program = std::env::current_exe().map_err(StartError::Program)?;
        let mut backend = LocalBackend { groups: BTreeMap::new(), waits: Vec::new() };
        for start in starts {
            let child = spawn(&program, start)?;
            if let Some(pid) = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw) {
                backend.groups.insert(start.slot.clone(), pid);
            }
            backend.waits.push(tokio::spawn(wait(start.slot.clone(), child, exits.clone())));
        }
        Ok(backend)
    }

    /// Waits for all processes to end by themselves for `grace`, then ends them.
    pub(super) async fn stop(mut self, grace: Duration) {
        let all_ended = async {
            for wait in &mut self.waits {
                drop(wait.await);
            }
        };
        if tokio::time::timeout(grace, all_ended).await.is_ok() {
            return;
        }
        for group in self.groups.values() {
            // Ends stopped processes too. A group that is gone already needs nothing.
            let _ = kill_process_group(*group, Signal::KILL);
        }
        for wait in self.waits {
            if !wait.is_finished() {
                drop(tokio::time::timeout(REAP, wait).await);
            }
        }
    }
}

/// A killed process is reaped at once unless it hangs in the kernel.
const REAP: Duration = Duration::from_secs(2);

fn spawn(program: &Path, start: &Start) -> Result<Child, StartError> {
    let log = open_log(&start.log).map_err(|source| StartError::Log { path: start.log.clone(), source })?;
    let errors = log.try_clone().map_err(|source| StartError::Log { path: start.log.clone(), source })?;
    let mut command = Command::new(program);
    command.arg("worker").arg("--bundle").arg(&start.bundle);
    command.arg("--parent").arg(std::process::id().to_string());
    for (id, path) in &start.files {
        let mut pair = std::ffi::OsString::from(format!("{id}="));
        pair.push(path);
        command.arg("--shard").arg(pair);
    }
    command.env_clear();
    if start.gpu {
        let known = CUDA_VARIABLES.iter().filter_map(|name| Some((name, std::env::var_os(name)?)));
        command.envs(known);
    }
    command.stdin(Stdio::null()).stdout(log).stderr(errors);
    command.process_group(0).kill_on_drop(true);
    command.spawn().map_err(|source| StartError::Spawn { slot: start.slot.clone(), source })
}

fn open_log(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

async fn wait(slot: SlotId, mut child: Child, exits: UnboundedSender<(SlotId, Exit)>) {
    let exit = match child.wait().await {
        Ok(status) => exit_of(status),
        Err(error) => {
            tracing::error!(%slot, %error, "cannot wait for a worker");
            Exit::Code(-1)
        }
    };
    // Nobody listens any more once the run has ended.
    drop(exits.send((slot, exit)));
}

fn exit_of(status: ExitStatus) -> Exit {
    match (status.code(), status.signal()) {
        (Some(code), _) => Exit::Code(code),
        (None, signal) => Exit::Signal(signal.unwrap_or(0)),
    }
}
