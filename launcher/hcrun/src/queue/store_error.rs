//! What can be wrong with a queue's database, and what a person does about it.

use std::path::Path;

use crate::codes;
use crate::failure::Failure;

#[derive(Debug, thiserror::Error)]
pub(super) enum StoreError {
    #[error("it is of version {0}, this hcrun knows version {1}")]
    Version(i32, i32),
    #[error("it is a database of another program")]
    Foreign,
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
}

pub(super) fn unusable(path: &Path, error: &StoreError) -> Failure {
    use rusqlite::ErrorCode::{
        CannotOpen, DatabaseBusy, DatabaseCorrupt, DatabaseLocked, DiskFull, FileLockingProtocolFailed,
        NotADatabase, PermissionDenied, ReadOnly, SystemIoFailure,
    };
    let sqlite = match error {
        StoreError::Sqlite(error) => error.sqlite_error_code(),
        _ => None,
    };
    let (code, what, hint) = match sqlite {
        Some(DiskFull) => (
            &codes::DISK_FULL,
            "the disk of the queue is full",
            Some("free space, and give the command again"),
        ),
        Some(DatabaseBusy | DatabaseLocked | FileLockingProtocolFailed) => {
            (&codes::QUEUE_LOCKED, "another process keeps the queue's database locked", None)
        }
        Some(ReadOnly | CannotOpen | PermissionDenied) => (
            &codes::QUEUE_UNUSABLE,
            "the queue's database cannot be written",
            Some(
                "check owner and permissions of the queue's directory and all files in it, and that its disk is not mounted read-only",
            ),
        ),
        Some(DatabaseCorrupt | NotADatabase) => {
            (&codes::QUEUE_UNUSABLE, "the queue's database is damaged", None)
        }
        Some(SystemIoFailure) => (
            &codes::QUEUE_UNUSABLE,
            "the disk of the queue's database fails",
            Some("look at the system's log (`dmesg`); a queue must be on a local disk"),
        ),
        _ => (&codes::QUEUE_UNUSABLE, "cannot use the queue's database", None),
    };
    let failure = Failure::new(code, what).at(path.display().to_string()).caused_by(error);
    hint.into_iter().fold(failure, Failure::hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_the_file_is_told_apart() {
        let failure = |code| {
            let error = rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), None);
            unusable(Path::new("queue.db"), &error.into())
        };
        for (code, expected, said) in [
            (rusqlite::ffi::SQLITE_FULL, &codes::DISK_FULL, "is full"),
            (rusqlite::ffi::SQLITE_BUSY, &codes::QUEUE_LOCKED, "keeps the queue's database locked"),
            (rusqlite::ffi::SQLITE_READONLY_DIRECTORY, &codes::QUEUE_UNUSABLE, "mounted read-only"),
            (rusqlite::ffi::SQLITE_CANTOPEN, &codes::QUEUE_UNUSABLE, "cannot be written"),
            (rusqlite::ffi::SQLITE_CORRUPT, &codes::QUEUE_UNUSABLE, "is damaged"),
            (
                rusqlite::ffi::SQLITE_IOERR_FSYNC,
                &codes::QUEUE_UNUSABLE,
                "the disk of the queue's database fails",
            ),
        ] {
            let failure = failure(code);
            assert_eq!(failure.code, expected, "{failure}");
            assert!(failure.to_string().contains(said), "{failure}");
        }
    }
}
