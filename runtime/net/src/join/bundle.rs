//! The file that lets one worker join.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use hcrun_protocol::{JobId, SlotId, ZoneId};
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};

/// Everything a worker needs to join, and a secret: the token.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JoinBundle {
    /// [`hcrun_protocol::control::PROTOCOL_VERSION`] of the launcher.
    pub protocol: u32,
    pub job: JobId,
    pub slot: SlotId,
    pub zone: ZoneId,
    /// Where to redeem the token.
    pub join_address: SocketAddr,
    /// By whose root the coordinator is known.
    pub coordinator_zone: ZoneId,
    /// PEM of each zone's root.
    pub roots: BTreeMap<ZoneId, String>,
    /// 256 bits in hexadecimal.
    pub token: String,
    /// Seconds since 1970, by the launcher's clock; for people, the launcher decides by its own.
    pub expires: u64,
}

/// Why a bundle cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    #[error("cannot write the join bundle {}", .path.display())]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot read the join bundle {}", .path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{} is a symbolic link or not a plain file: name the join bundle itself", .path.display())]
    NotAFile { path: PathBuf },
    #[error("others can read the join bundle {path} (mode {mode:04o}), and it holds a secret: run `chmod 600 {path}`, and ask for a new bundle if others use this host", path = .path.display())]
    Permissions { path: PathBuf, mode: u32 },
    #[error("the join bundle {} belongs to user {owner}, this process runs as user {user}", .path.display())]
    Owner { path: PathBuf, owner: u32, user: u32 },
    #[error("{} is not a join bundle", .path.display())]
    Format {
        path: PathBuf,
        #[source]
        source: serde_json::Error,
    },
    #[error("the join bundle {} is of {got} bytes, more than {BUNDLE_BYTES}", .path.display())]
    TooLarge { path: PathBuf, got: u64 },
}

/// Longest bundle: 64 zones with roots of 1 KiB and room to spare.
const BUNDLE_BYTES: u64 = 256 << 10;

impl JoinBundle {
    /// Writes a new file that only this user can read, whatever the umask. An existing file is an error.
    pub fn write(&self, path: &Path) -> Result<(), BundleError> {
        let failed = |source| BundleError::Write { path: path.to_owned(), source };
        let text = serde_json::to_vec_pretty(self).map_err(|error| failed(error.into()))?;
        let mut file =
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
        file.write_all(&text).and_then(|()| file.sync_all()).map_err(failed)
    }

    /// Reads a bundle, unless others could have read it too.
    pub fn read(path: &Path) -> Result<JoinBundle, BundleError> {
        let failed = |source: io::Error| match source.raw_os_error() {
            // What opening a link with NOFOLLOW gives.
            Some(code) if code == rustix::io::Errno::LOOP.raw_os_error() => {
                BundleError::NotAFile { path: path.to_owned() }
            }
            _ => BundleError::Read { path: path.to_owned(), source },
        };
        // Without waiting: a FIFO would block until somebody writes to it.
        let flags = i32::try_from((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits()).expect("flags of open(2)");
        let file = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(failed)?;
        let length = check(path, &file.metadata().map_err(failed)?)?;
        let mut text = Vec::new();
        File::take(file, length).read_to_end(&mut text).map_err(failed)?;
        serde_json::from_slice(&text).map_err(|source| BundleError::Format { path: path.to_owned(), source })
    }
}

/// The file's length, if it may be read.
fn check(path: &Path, metadata: &std::fs::Metadata) -> Result<u64, BundleError> {
    let path = || path.to_owned();
    if !metadata.is_file() {
        return Err(BundleError::NotAFile { path: path() });
    }
    let mode = metadata.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(BundleError::Permissions { path: path(), mode });
    }
    let user = rustix::process::geteuid().as_raw();
    if metadata.uid() != user && user != 0 {
        return Err(BundleError::Owner { path: path(), owner: metadata.uid(), user });
    }
    if metadata.len() > BUNDLE_BYTES {
        return Err(BundleError::TooLarge { path: path(), got: metadata.len() });
    }
    Ok(metadata.len())
}

impl fmt::Debug for JoinBundle {
    /// Without the token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "JoinBundle({} of zone {}, job {}, at {})",
            self.slot, self.zone, self.job, self.join_address
        )
    }
}
