//! A run's directory: plain files that survive `rsync`, a lock while the run lives, a control socket.
//!
//! `runs/<utc>-<name>-<id>/` with `job.toml cluster.toml plan.json events.jsonl metrics.jsonl logs/
//! checkpoints/ audit/ summary.json report.html`, and a `latest` link beside it.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use time::OffsetDateTime;
use time::macros::format_description;

use crate::codes;
use crate::failure::{Failure, Result};

/// Names in the directory.
pub mod files {
    pub const JOB: &str = "job.toml";
    pub const CLUSTER: &str = "cluster.toml";
    pub const PLAN: &str = "plan.json";
    pub const EVENTS: &str = "events.jsonl";
    pub const METRICS: &str = "metrics.jsonl";
    pub const SUMMARY: &str = "summary.json";
    pub const REPORT: &str = "report.html";
    pub const LOGS: &str = "logs";
    pub const CHECKPOINTS: &str = "checkpoints";
    pub const AUDIT: &str = "audit";
    pub const LOCK: &str = "lock";
    pub const CONTROL_SOCKET: &str = "control.sock";
    /// Beside the run directories.
    pub const LATEST: &str = "latest";
}

/// A run directory, not locked: for reading.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunDir {
    pub path: PathBuf,
}

/// A run directory whose run is this process. The kernel lets go of the lock however the process ends.
#[derive(Debug)]
pub struct LockedRunDir {
    pub dir: RunDir,
    _lock: File,
}

impl std::ops::Deref for LockedRunDir {
    type Target = RunDir;
    fn deref(&self) -> &RunDir {
        &self.dir
    }
}

impl RunDir {
    /// Makes and locks the directory of a new run, and points `latest` at it.
    pub fn create(runs_dir: &Path, name: &str, id: u64) -> Result<LockedRunDir> {
        let stamp = OffsetDateTime::now_utc()
            .format(format_description!("[year][month][day]T[hour][minute][second]Z"))
            .expect("a date of this era has these parts");
        let directory = format!("{stamp}-{name}-{:08x}", id & 0xffff_ffff);
        let path = runs_dir.join(&directory);
        let fail = |error: &io::Error| unwritable(&path, error);
        fs::create_dir_all(runs_dir).map_err(|error| unwritable(runs_dir, &error))?;
        // Logs and checkpoints may hold what others on this machine should not read.
        DirBuilder::new().mode(0o700).create(&path).map_err(|error| fail(&error))?;
        for part in [files::LOGS, files::CHECKPOINTS, files::AUDIT] {
            fs::create_dir(path.join(part)).map_err(|error| fail(&error))?;
        }
        let locked = RunDir { path: path.clone() }.lock()?;
        point_latest(runs_dir, &directory).map_err(|error| fail(&error))?;
        Ok(locked)
    }

    /// Finds a run by path, by its directory's name under `runs_dir`, or `latest`.
    pub fn open(runs_dir: &Path, run: &str) -> Result<RunDir> {
        let named = runs_dir.join(run);
        let path = if named.is_dir() { named } else { PathBuf::from(run) };
        let missing = |cause: &str| {
            Failure::new(&codes::RUN_NOT_FOUND, format!("there is no run `{run}`"))
                .at(runs_dir.display().to_string())
                .because(cause)
        };
        // Resolves `latest`, so that a newer run does not change what this command looks at.
        let path = fs::canonicalize(&path).map_err(|error| missing(&error.to_string()))?;
        if !path.join(files::JOB).is_file() {
            return Err(missing(&format!("{} holds no {}", path.display(), files::JOB)));
        }
        Ok(RunDir { path })
    }

    /// Takes the directory for this process.
    pub fn lock(self) -> Result<LockedRunDir> {
        let file = self.lock_file().map_err(|error| unwritable(&self.path, &error))?;
        match file.try_lock() {
            Ok(()) => Ok(LockedRunDir { dir: self, _lock: file }),
            Err(TryLockError::WouldBlock) => {
                Err(Failure::new(&codes::RUN_BUSY, "the run is in use").at(self.path.display().to_string()))
            }
            Err(TryLockError::Error(error)) => Err(unwritable(&self.path, &error)),
        }
    }

    /// As [`Self::lock`], but waits a moment for whoever clears up behind a launcher that was killed.
    pub fn lock_soon(self) -> Result<LockedRunDir> {
        let since = Instant::now();
        loop {
            match self.clone().lock() {
                Err(failure) if failure.code == &codes::RUN_BUSY && since.elapsed() < CLEARED_WITHIN => {
                    std::thread::sleep(PAUSE);
                }
                locked => return locked,
            }
        }
    }

    /// Whether some process runs it now.
    pub fn is_live(&self) -> bool {
        File::open(self.file(files::LOCK))
            .is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
    }

    pub fn name(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    pub fn log(&self, slot: &str) -> PathBuf {
        self.path.join(files::LOGS).join(format!("{slot}.log"))
    }

    /// Writes a whole file or none of it.
    pub fn write(&self, name: &str, contents: &[u8]) -> Result<()> {
        let write = || {
            let temporary = self.file(&format!("{name}.tmp"));
            fs::write(&temporary, contents)?;
            fs::rename(&temporary, self.file(name))
        };
        write().map_err(|error| unwritable(&self.file(name), &error))
    }

    fn lock_file(&self) -> io::Result<File> {
        File::options().create(true).truncate(false).write(true).open(self.file(files::LOCK))
    }
}

/// Clearing up removes a few files.
const CLEARED_WITHIN: Duration = Duration::from_millis(500);
const PAUSE: Duration = Duration::from_millis(5);

pub fn unwritable(path: &Path, error: &io::Error) -> Failure {
    let code = match error.kind() {
        io::ErrorKind::StorageFull => &codes::DISK_FULL,
        _ => &codes::RUN_DIRECTORY,
    };
    Failure::new(code, "cannot write the run directory").at(path.display().to_string()).caused_by(error)
}

/// Replaces the link at once, so that a reader always finds a run.
fn point_latest(runs_dir: &Path, directory: &str) -> io::Result<()> {
    let temporary = runs_dir.join(format!(".latest-{}", std::process::id()));
    let _ = fs::remove_file(&temporary);
    std::os::unix::fs::symlink(directory, &temporary)?;
    fs::rename(&temporary, runs_dir.join(files::LATEST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_live_while_its_lock_is_held() {
        let runs = tempfile::tempdir().unwrap();
        let run = RunDir::create(runs.path(), "demo", 7).unwrap();
        fs::write(run.file(files::JOB), "x").unwrap();
        let found = RunDir::open(runs.path(), "latest").unwrap();
        assert_eq!(found.path, fs::canonicalize(&run.path).unwrap());
        assert!(found.is_live());
        assert_eq!(found.clone().lock().unwrap_err().code, &codes::RUN_BUSY);
        drop(run);
        assert!(!found.is_live());
        assert!(found.lock().is_ok());
    }

    #[test]
    fn latest_follows_the_newest_run() {
        let runs = tempfile::tempdir().unwrap();
        for id in [1, 2] {
            let run = RunDir::create(runs.path(), "demo", id).unwrap();
            fs::write(run.file(files::JOB), "x").unwrap();
            assert!(RunDir::open(runs.path(), "latest").unwrap().name().ends_with(&format!("0000000{id}")));
        }
    }

    #[test]
    fn what_is_no_run_is_refused() {
        let runs = tempfile::tempdir().unwrap();
        assert_eq!(RunDir::open(runs.path(), "latest").unwrap_err().code, &codes::RUN_NOT_FOUND);
        assert_eq!(RunDir::open(runs.path(), ".").unwrap_err().code, &codes::RUN_NOT_FOUND);
        let file = runs.path().join("file");
        fs::write(&file, "").unwrap();
        assert_eq!(RunDir::create(&file, "demo", 1).unwrap_err().code, &codes::RUN_DIRECTORY);
    }
}
