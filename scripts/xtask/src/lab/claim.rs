//! Which laboratories live: each holds the lock of a file, which the kernel lets go of when it ends, however it
//! ends. The number of a process says less: the next process may have it, and a dead one keeps it until it is reaped.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::Context;

use super::{namespace, told};

/// The right to namespaces of one name. When dropped, the name is free.
pub(super) struct Claim {
    name: String,
    file: File,
}

impl Claim {
    /// For a new laboratory of this process, after those that were killed are cleared away.
    pub(super) fn new() -> anyhow::Result<Claim> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        fs::create_dir_all(DIRECTORY).with_context(|| format!("cannot make {DIRECTORY}"))?;
        clear_dead();
        let name = format!("{PREFIX}{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let file = lock(&path(&name)).with_context(|| format!("cannot lock {}", path(&name).display()))?;
        Ok(Claim { name, file })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Another handle of the lock, for a process that shall hold it too.
    pub(super) fn share(&self) -> io::Result<File> {
        self.file.try_clone()
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // A failure leaves it to the next start.
        let _ = fs::remove_file(path(&self.name));
    }
}

/// Ends and removes what the laboratory of that name has; returns the names of its namespaces. Whoever calls it
/// has its lock.
pub(super) fn clear(name: &str) -> Vec<String> {
    told::kill_all(name);
    let removed = namespace::remove_of(name);
    let _ = fs::remove_file(path(name));
    removed
}

/// Clears away those that nobody holds any more; returns the names of their namespaces.
pub(super) fn clear_dead() -> Vec<String> {
    let mut removed = Vec::new();
    for name in names() {
        let Ok(file) = File::open(path(&name)) else { continue };
        if file.try_lock().is_ok() && is_at(&file, &path(&name)) {
            removed.extend(clear(&name));
        }
    }
    // A claim is there before its namespaces and after them.
    let unclaimed = |owner: &str| !path(owner).exists();
    removed.extend(namespace::remove_where(|name| owner(name).is_some_and(unclaimed)));
    removed
}

/// The processes that have a laboratory now, other than this one.
pub(super) fn living() -> Vec<u32> {
    let is_held = |name: &String| {
        File::open(path(name))
            .is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
    };
    let mut makers: Vec<u32> = names().filter(is_held).filter_map(|name| maker(&name)).collect();
    makers.retain(|maker| *maker != std::process::id());
    makers.sort_unstable();
    makers.dedup();
    makers
}

/// Waits for whoever clears up behind a dead laboratory of the same name.
fn lock(path: &Path) -> io::Result<File> {
    loop {
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
        file.lock()?;
        // It may have been cleared away before it was locked.
        if is_at(&file, path) {
            return Ok(file);
        }
    }
}

fn is_at(file: &File, path: &Path) -> bool {
    let place = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
    match (file.metadata(), fs::metadata(path)) {
        (Ok(open), Ok(there)) => place(open) == place(there),
        _ => false,
    }
}

fn names() -> impl Iterator<Item = String> {
    let entries = fs::read_dir(DIRECTORY).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).filter(|name| maker(name).is_some())
}

fn path(name: &str) -> PathBuf {
    Path::new(DIRECTORY).join(name)
}

/// The process that has claimed that name.
fn maker(name: &str) -> Option<u32> {
    let (process, count) = name.strip_prefix(PREFIX)?.split_once('-')?;
    count.parse::<u32>().ok()?;
    process.parse().ok()
}

/// The claim to which a namespace belongs.
fn owner(namespace: &str) -> Option<&str> {
    let (owner, host) = namespace.rsplit_once('-')?;
    host.parse::<u32>().ok()?;
    maker(owner).map(|_| owner)
}

const PREFIX: &str = "hcrun-lab-";
const DIRECTORY: &str = "/run/hcrun-lab";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_maker_and_owner() {
        assert_eq!(maker("hcrun-lab-4711-2"), Some(4711));
        assert_eq!(owner("hcrun-lab-4711-2-0"), Some("hcrun-lab-4711-2"));
        for other in ["hcrun-4711-0-switch", "hcrun-lab-", "hcrun-lab-x-1", "lab", "hcrun-lab-4711"] {
            assert_eq!(maker(other), None, "{other}");
            assert_eq!(owner(other), None, "{other}");
        }
        assert_eq!(owner("hcrun-lab-4711-2"), None, "of an older version, which removes it itself");
    }

    #[test]
    fn a_lock_whose_file_was_cleared_away_is_none() {
        let path = std::env::temp_dir().join(format!("claim-{}", std::process::id()));
        let first = lock(&path).unwrap();
        assert!(is_at(&first, &path));
        fs::remove_file(&path).unwrap();
        assert!(!is_at(&first, &path));
        // Another file: that of the first is still locked.
        let second = lock(&path).unwrap();
        assert!(is_at(&second, &path) && !is_at(&first, &path));
        fs::remove_file(&path).unwrap();
    }
}
