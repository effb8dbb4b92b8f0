//! A run of a job as a process: `hcrun run`, or `hcrun resume` where there is a checkpoint.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{ExitStatus, Stdio};

use hcrun_protocol::plan::Plan;
use hcrun_scheduling::JobIndex;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Command;
use tokio::sync::mpsc::UnboundedSender;

use super::dir::QueueDir;
use crate::report::{self, Status};
use crate::run_dir::{RunDir, files};

/// What the process says, in the job's folder of runs.
const LOG: &str = "log";

/// Asks for a checkpoint and the end; twice it means at once.
pub(super) fn ask_to_stop(pid: Pid) {
    // A process that is gone has ended already.
    let _ = kill_process(pid, Signal::TERM);
}

pub(super) fn kill(pid: Pid) {
    let _ = kill_process(pid, Signal::KILL);
}

/// A process, and where what it says begins in the log.
#[derive(Debug, Clone, Copy)]
pub(super) struct Child {
    pub(super) pid: Pid,
    pub(super) log_from: u64,
}

/// Starts the process of a job, which goes on with a run or begins one; its end arrives on `exits`.
pub(super) fn start(
    queue: &QueueDir,
    id: i64,
    goes_on: Option<&RunDir>,
    job: JobIndex,
    exits: &UnboundedSender<(JobIndex, ExitStatus)>,
) -> std::io::Result<Child> {
    let runs = queue.runs(id);
    std::fs::create_dir_all(&runs)?;
    let log = OpenOptions::new().create(true).append(true).mode(0o600).open(runs.join(LOG))?;
    let log_from = log.metadata()?.len();
    let mut command = Command::new(std::env::current_exe()?);
    match goes_on {
        Some(run) => command.arg("resume").arg(&run.path),
        None => command.arg("run").arg(queue.job(id).join(files::JOB)).arg("--cluster").arg(queue.cluster()),
    };
    command.arg("--runs-dir").arg(&runs).arg("--quiet");
    // It dies with this process, and Ctrl-C reaches it through this process alone.
    command.arg("--parent").arg(std::process::id().to_string()).process_group(0).kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    let mut child = command.spawn()?;
    let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| std::io::Error::other("the process was gone at once"))?;
    let exits = exits.clone();
    tokio::spawn(async move {
        if let Ok(status) = child.wait().await {
            // Nobody listens any more once the queue has ended.
            let _ = exits.send((job, status));
        }
    });
    Ok(Child { pid, log_from })
}

pub(super) fn run(queue: &QueueDir, id: i64) -> Option<RunDir> {
    queue.run(id).map(|path| RunDir { path })
}

pub(super) fn has_checkpoint(run: &RunDir) -> bool {
    newest_checkpoint(&run.file(files::CHECKPOINTS)).is_some()
}

/// Steps in the newest whole checkpoint, by its name; whoever loads it checks the rest.
fn newest_checkpoint(folder: &Path) -> Option<u64> {
    let entries = std::fs::read_dir(folder).ok()?.flatten();
    let steps = |name: &str| name.strip_prefix("step-")?.parse::<u64>().ok();
    entries.filter_map(|entry| steps(entry.file_name().to_str()?)).max()
}

/// Exit codes that say nothing against the job: the infrastructure failed, or somebody sent a signal.
pub(super) fn is_unlucky(code: i32) -> bool {
    matches!(code, 75 | 130 | 143)
}

/// Whether a job's training is over: its run says so, or was cut off after its last checkpoint.
pub(super) fn is_done(run: &RunDir) -> bool {
    match report::read_summary(run) {
        Some(summary) if summary.status == Status::Done => return true,
        // Trained to its end, and to nothing.
        Some(summary) if summary.status == Status::Failed && !is_unlucky(summary.exit_code.into()) => {
            return false;
        }
        _ => {}
    }
    let plan = std::fs::read(run.file(files::PLAN)).ok();
    let steps = plan.and_then(|plan| serde_json::from_slice::<Plan>(&plan).ok()).map(|plan| plan.steps);
    let there = newest_checkpoint(&run.file(files::CHECKPOINTS));
    steps.zip(there).is_some_and(|(steps, there)| there >= steps)
}

/// Whether a run ended by the wish of somebody beside the queue.
pub(super) fn was_stopped(run: &RunDir) -> bool {
    report::read_summary(run).is_some_and(|summary| summary.status == Status::Stopped)
}

/// Why a process failed, in a line: the last error in what it said.
pub(super) fn failure(queue: &QueueDir, id: i64, log_from: u64) -> String {
    let log = queue.runs(id).join(LOG);
    let said = said(&log, log_from).unwrap_or_default();
    let error = said.lines().rev().find_map(|line| line.strip_prefix("error: "));
    format!("{}; see {}", error.unwrap_or("it ended without a word"), log.display())
}

/// The end of a log, from `from` on.
fn said(log: &Path, from: u64) -> std::io::Result<String> {
    let mut log = File::open(log)?;
    let from = from.max(log.metadata()?.len().saturating_sub(MAX_SAID));
    log.seek(SeekFrom::Start(from))?;
    let mut said = Vec::new();
    log.take(MAX_SAID).read_to_end(&mut said)?;
    Ok(String::from_utf8_lossy(&said).into_owned())
}

/// Far more than a refusal with its causes.
const MAX_SAID: u64 = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_that_of_the_process_and_not_of_the_one_before() {
        let root = tempfile::tempdir().unwrap();
        let queue = QueueDir::make(root.path()).unwrap();
        std::fs::create_dir_all(queue.runs(1)).unwrap();
        let log = queue.runs(1).join(LOG);
        let before = "error: of before\n".repeat(10_000);
        std::fs::write(&log, format!("{before}note: now\nerror: of now\n  caused by: a cause\n")).unwrap();
        assert!(failure(&queue, 1, before.len() as u64).starts_with("of now; see "));
        std::fs::write(&log, &before).unwrap();
        assert!(failure(&queue, 1, before.len() as u64).starts_with("it ended without a word; see "));
        assert!(failure(&queue, 2, 0).starts_with("it ended without a word; see "));
    }
}
