//! Files that a verb was asked for: opened before the work, in their place only once they are whole.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::codes;
use crate::failure::{Failure, Result};

/// Dropped unwritten it leaves everything as it was.
#[derive(Debug)]
pub(crate) struct OutputFile {
    path: PathBuf,
    what: &'static str,
    target: Target,
}

#[derive(Debug)]
enum Target {
    /// Takes its place once it is whole, so that an old file is not lost with work that fails.
    Beside { file: NamedTempFile, place: PathBuf },
    /// A device or a pipe has no place to take.
    Open(File),
}

impl OutputFile {
    /// # Errors
    /// If the file could not be written.
    pub(crate) fn open(path: &Path, what: &'static str) -> Result<OutputFile> {
        let target = target(path).map_err(|error| unwritable(path, what, &error))?;
        Ok(OutputFile { path: path.to_owned(), what, target })
    }

    /// # Errors
    /// If both would be the same file.
    pub(crate) fn differs_from(&self, other: &OutputFile) -> Result<()> {
        match (&self.target, &other.target) {
            (Target::Beside { place, .. }, Target::Beside { place: same, .. }) if place == same => {
                let what = format!("the {} and the {} cannot be the same file", self.what, other.what);
                let failure = Failure::new(&codes::OUTPUT_UNWRITABLE, what).at(place.display().to_string());
                Err(failure.hint("give each a file of its own"))
            }
            _ => Ok(()),
        }
    }

    /// # Errors
    /// If not all of it could be written.
    pub(crate) fn write(self, content: &str) -> Result<()> {
        let OutputFile { path, what, target } = self;
        let written = match target {
            Target::Beside { mut file, place } => file
                .write_all(content.as_bytes())
                .and_then(|()| file.as_file().sync_all())
                .and_then(|()| file.persist(place).map(drop).map_err(|error| error.error)),
            Target::Open(mut file) => file.write_all(content.as_bytes()).and_then(|()| file.flush()),
        };
        written.map_err(|error| unwritable(&path, what, &error))
    }
}

fn target(path: &Path) -> io::Result<Target> {
    let is_new = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
    match fs::metadata(path) {
        Ok(there) if there.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
        Ok(there) => {
            let open = OpenOptions::new().write(true).open(path)?;
            match there.is_file() {
                true => beside(fs::canonicalize(path)?, there.permissions()),
                false => Ok(Target::Open(open)),
            }
        }
        Err(error) if is_new(&error) => {
            let name = path.file_name().ok_or(io::ErrorKind::InvalidFilename)?;
            // As any new file; the process's mask takes its part off.
            beside(fs::canonicalize(directory(path))?.join(name), Permissions::from_mode(0o666))
        }
        Err(error) => Err(error),
    }
}

fn beside(place: PathBuf, permissions: Permissions) -> io::Result<Target> {
    let file = tempfile::Builder::new().permissions(permissions).tempfile_in(directory(&place))?;
    Ok(Target::Beside { file, place })
}

fn directory(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn unwritable(path: &Path, what: &str, error: &io::Error) -> Failure {
    Failure::new(&codes::OUTPUT_UNWRITABLE, format!("cannot write the {what}"))
        .at(path.display().to_string())
        .caused_by(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_file_stays_until_the_new_one_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.csv");
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        drop(OutputFile::open(&path, "table").unwrap());
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        OutputFile::open(&path, "table").unwrap().write("new").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing else is left");
    }

    #[test]
    fn the_same_file_by_two_names_is_refused_and_a_device_may_take_both() {
        let folder = tempfile::tempdir().unwrap();
        let open = |path: &Path| OutputFile::open(path, "table").unwrap();
        let (new, same) = (folder.path().join("a"), folder.path().join(".").join("a"));
        assert!(open(&new).differs_from(&open(&same)).is_err());
        assert!(open(&new).differs_from(&open(&folder.path().join("b"))).is_ok());
        let null = Path::new("/dev/null");
        assert!(open(null).differs_from(&open(null)).is_ok());
    }

    #[test]
    fn what_cannot_be_written_is_said_before_or_after() {
        let folder = tempfile::tempdir().unwrap();
        assert!(OutputFile::open(folder.path(), "table").is_err());
        assert!(OutputFile::open(&folder.path().join("no/such/folder"), "table").is_err());
        let full = OutputFile::open(Path::new("/dev/full"), "table").unwrap().write("x").unwrap_err();
        assert!(full.causes[0].contains("No space left"), "{full}");
        assert!(!fs::metadata("/dev/full").unwrap().is_file());
    }
}
