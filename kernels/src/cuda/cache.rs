//! Cubins that were compiled before, one file each.
//!
//! A file is named by the digest of everything that it was made of, and begins with the digest of what it holds: a
//! damaged one is made anew. It is written beside its place and renamed, so that processes may share the folder.

use std::env;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};

use sha2::{Digest, Sha256};

/// A folder of cubins.
#[derive(Debug, Clone)]
pub struct Cache {
    folder: PathBuf,
}

/// Where a cubin of [`Cache::get_or_make`] comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hit {
    Found,
    /// `not_stored` says why the next process will have to make it again.
    Made {
        not_stored: Option<String>,
    },
}

impl Cache {
    pub fn new(folder: impl Into<PathBuf>) -> Cache {
        Cache { folder: folder.into() }
    }

    /// `HCRUN_CACHE`, else `hcrun` in `XDG_CACHE_HOME`, else `.cache/hcrun` in the home directory.
    pub fn of_user() -> Option<Cache> {
        let variable = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let xdg =
            || variable("XDG_CACHE_HOME").filter(|path| path.is_absolute()).map(|path| path.join("hcrun"));
        let home = || variable("HOME").map(|home| home.join(".cache/hcrun"));
        variable("HCRUN_CACHE").or_else(xdg).or_else(home).map(|root| Cache::new(root.join("kernels")))
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What lies under `name`, or what `make` makes, which is then stored.
    ///
    /// # Errors
    /// Those of `make`; a folder that cannot be written is no error.
    pub fn get_or_make<E>(
        &self,
        name: &str,
        make: impl FnOnce() -> Result<Vec<u8>, E>,
    ) -> Result<(Vec<u8>, Hit), E> {
        let path = self.folder.join(name);
        if let Some(found) = fs::read(&path).ok().and_then(|entry| content(&entry)) {
            return Ok((found, Hit::Found));
        }
        let made = make()?;
        let not_stored = self.store(&path, &made).err();
        let not_stored = not_stored.map(|error| format!("{}: {error}", path.display()));
        Ok((made, Hit::Made { not_stored }))
    }

    fn store(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        fs::create_dir_all(&self.folder)?;
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let beside = path.with_extension(format!("{}-{count}.tmp", process::id()));
        let write = || {
            let mut file = fs::File::create_new(&beside)?;
            file.write_all(&Sha256::digest(content))?;
            file.write_all(content)?;
            fs::rename(&beside, path)
        };
        write().inspect_err(|_| drop(fs::remove_file(&beside)))
    }
}

/// What an entry holds, if it is whole.
fn content(entry: &[u8]) -> Option<Vec<u8>> {
    let (digest, content) = entry.split_at_checked(DIGEST_BYTES)?;
    (Sha256::digest(content)[..] == *digest).then(|| content.to_vec())
}

const DIGEST_BYTES: usize = 32;

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    fn get(cache: &Cache, name: &str, made: &[u8]) -> (Vec<u8>, Hit) {
        cache.get_or_make(name, || Ok::<_, Infallible>(made.to_vec())).unwrap()
    }

    const MADE: Hit = Hit::Made { not_stored: None };

    #[test]
    fn what_was_made_once_is_found_again() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(folder.path().join("a/b"));
        assert_eq!(get(&cache, "x.cubin", b"one"), (b"one".to_vec(), MADE));
        assert_eq!(get(&cache, "x.cubin", b"two"), (b"one".to_vec(), Hit::Found));
        assert_eq!(get(&cache, "y.cubin", b"two"), (b"two".to_vec(), MADE));
    }

    #[test]
    fn a_damaged_entry_is_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(folder.path());
        let path = folder.path().join("x.cubin");
        get(&cache, "x.cubin", b"content of a cubin");
        let whole = fs::read(&path).unwrap();
        let mut flipped = whole.clone();
        flipped[40] ^= 1;
        for damaged in [&whole[..whole.len() - 1], &whole[..10], &[], &flipped] {
            fs::write(&path, damaged).unwrap();
            assert_eq!(get(&cache, "x.cubin", b"content of a cubin").1, MADE);
            assert_eq!(fs::read(&path).unwrap(), whole);
        }
    }

    #[test]
    fn a_folder_that_cannot_be_written_costs_only_time() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        let (content, hit) = get(&Cache::new(file.join("below")), "x.cubin", b"one");
        assert_eq!(content, b"one");
        assert!(matches!(hit, Hit::Made { not_stored: Some(_) }), "{hit:?}");
    }

    #[test]
    fn writers_at_once_leave_one_whole_entry_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(folder.path());
        let made = vec![7; 1 << 16];
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| assert_eq!(get(&cache, "x.cubin", &made).0, made));
            }
        });
        assert_eq!(get(&cache, "x.cubin", b"other"), (made, Hit::Found));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
