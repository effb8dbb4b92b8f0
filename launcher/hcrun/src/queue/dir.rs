//! The directory of a queue: `queue.db`, the jobs as they were submitted, their runs, a lock and a socket.

use std::fs::{self, DirBuilder, File, Permissions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use crate::codes;
use crate::failure::{Failure, Result};

const DATABASE: &str = "queue.db";
const LOCK: &str = "lock";
const SOCKET: &str = "control.sock";

/// A queue by its directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct QueueDir {
    pub(crate) path: PathBuf,
}

/// Held by the process that runs the queue's jobs. The kernel lets go of it however that process ends.
#[derive(Debug)]
pub(super) struct QueueLock {
    _file: File,
}

impl QueueDir {
    /// Makes what is missing of it.
    pub(crate) fn make(path: &Path) -> Result<QueueDir> {
        let fail = |error: &io::Error| unwritable(path, error);
        // Job files and logs may hold what others on this machine should not read.
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|error| fail(&error))?;
        let path = fs::canonicalize(path).map_err(|error| fail(&error))?;
        for part in ["jobs", "runs"] {
            fs::create_dir_all(path.join(part)).map_err(|error| fail(&error))?;
        }
        Ok(QueueDir { path })
    }

    /// One that is there.
    pub(crate) fn open(path: &Path) -> Result<QueueDir> {
        let found = fs::canonicalize(path).ok().filter(|path| path.join(DATABASE).is_file());
        found.map(|path| QueueDir { path }).ok_or_else(|| {
            Failure::new(&codes::QUEUE_NOT_FOUND, "there is no queue").at(path.display().to_string())
        })
    }

    /// The id of a job, as a person gives it.
    pub(crate) fn job_id(&self, text: &str) -> Result<i64> {
        text.parse().map_err(|_| {
            Failure::new(
                &codes::QUEUE_JOB_NOT_FOUND,
                format!("`{text}` is not the id of a job of this queue"),
            )
            .at(self.path.display().to_string())
            .because("jobs of a queue are named by numbers")
        })
    }

    pub(super) fn database(&self) -> PathBuf {
        self.path.join(DATABASE)
    }

    /// The cluster that the queue was run on last.
    pub(crate) fn cluster(&self) -> PathBuf {
        self.path.join(crate::run_dir::files::CLUSTER)
    }

    pub(super) fn jobs(&self) -> PathBuf {
        self.path.join("jobs")
    }

    /// What was submitted as this job.
    pub(super) fn job(&self, id: i64) -> PathBuf {
        self.jobs().join(id.to_string())
    }

    /// The `--runs-dir` of this job.
    pub(super) fn runs(&self, id: i64) -> PathBuf {
        self.path.join("runs").join(id.to_string())
    }

    /// The run of this job; it may not be there yet.
    pub(crate) fn run(&self, id: i64) -> Option<PathBuf> {
        fs::canonicalize(self.runs(id).join(crate::run_dir::files::LATEST)).ok()
    }

    /// Takes the queue for this process.
    pub(super) fn lock(&self) -> Result<QueueLock> {
        let path = self.path.join(LOCK);
        let open = File::options().create(true).truncate(false).read(true).write(true).open(&path);
        let mut file = open.map_err(|error| unwritable(&path, &error))?;
        match file.try_lock() {
            Ok(()) => {
                let write = |file: &mut File| {
                    file.set_len(0)?;
                    file.rewind()?;
                    write!(file, "{}", std::process::id())
                };
                write(&mut file).map_err(|error| unwritable(&path, &error))?;
                Ok(QueueLock { _file: file })
            }
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                let _ = file.read_to_string(&mut holder);
                Err(Failure::new(&codes::QUEUE_BUSY, "another `hcrun up` runs this queue")
                    .at(self.path.display().to_string())
                    .because(format!("process {} holds it", holder.trim())))
            }
            Err(TryLockError::Error(error)) => Err(unwritable(&path, &error)),
        }
    }

    /// Whether some process runs it now.
    pub(crate) fn is_up(&self) -> bool {
        File::open(self.path.join(LOCK))
            .is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
    }

    /// Listens for those who changed the database.
    pub(super) fn listen(&self) -> io::Result<UnixListener> {
        let _ = fs::remove_file(self.path.join(SOCKET));
        let (_directory, path) = self.socket()?;
        let listener = UnixListener::bind(&path)?;
        fs::set_permissions(&path, Permissions::from_mode(0o600))?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    }

    /// Tells the process that runs the queue, if there is one, to look at the database.
    pub(crate) fn wake(&self) {
        if let Ok((_directory, path)) = self.socket() {
            // To connect is all there is to say.
            let _ = UnixStream::connect(path);
        }
    }

    pub(super) fn remove_socket(&self) {
        let _ = fs::remove_file(self.path.join(SOCKET));
    }

    /// A name below the 108 bytes of a socket's address, as for a run's.
    fn socket(&self) -> io::Result<(File, PathBuf)> {
        let directory = File::open(&self.path)?;
        let path = PathBuf::from(format!("/proc/self/fd/{}/{SOCKET}", directory.as_raw_fd()));
        Ok((directory, path))
    }
}

pub(super) fn unwritable(path: &Path, error: &io::Error) -> Failure {
    let code = match error.kind() {
        io::ErrorKind::StorageFull => &codes::DISK_FULL,
        _ => &codes::QUEUE_UNUSABLE,
    };
    Failure::new(code, "cannot write the queue").at(path.display().to_string()).caused_by(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_process_has_the_queue_and_others_are_told_which() {
        let root = tempfile::tempdir().unwrap();
        let queue = QueueDir::make(&root.path().join("q".repeat(120))).unwrap();
        assert!(!queue.is_up());
        let lock = queue.lock().unwrap();
        assert!(queue.is_up());
        let refused = queue.lock().unwrap_err();
        assert_eq!(refused.code, &codes::QUEUE_BUSY);
        assert!(
            refused.to_string().contains(&format!("process {} holds it", std::process::id())),
            "{refused}"
        );
        drop(lock);
        assert!(queue.lock().is_ok());
    }

    #[test]
    fn whoever_wakes_it_is_heard_and_a_queue_that_is_not_run_needs_no_waking() {
        let root = tempfile::tempdir().unwrap();
        let queue = QueueDir::make(&root.path().join("q".repeat(120))).unwrap();
        queue.wake();
        let listener = queue.listen().unwrap();
        queue.wake();
        assert!(listener.accept().is_ok());
        let mode = fs::metadata(queue.path.join(SOCKET)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
