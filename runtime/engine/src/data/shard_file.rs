//! Files of shards: described in their home, checked wherever they are opened.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use hcrun_protocol::ShardId;
use hcrun_protocol::job::{Data, Shard};
use hcrun_protocol::manifest::{Column, ColumnKind, Content, ShardManifest, sha256_hex};

use super::rows::Rows;
use super::schema::{Schema, SchemaError};
use super::table::{Table, TableError};

#[derive(Debug, thiserror::Error)]
pub enum ShardFileError {
    #[error("shard `{shard}` is not at {}", path.display())]
    Missing { shard: ShardId, path: PathBuf },
    #[error("shard `{shard}` at {} is {kind}: a shard is a plain file", path.display())]
    NotAFile { shard: ShardId, path: PathBuf, kind: &'static str },
    #[error("shard `{shard}` at {} cannot be read", path.display())]
    Read {
        shard: ShardId,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("shard `{shard}` at {} is empty", path.display())]
    Empty { shard: ShardId, path: PathBuf },
    #[error(
        "shard `{shard}` at {} has {found} bytes, its manifest says {expected}: restore the file, or index it \
         again with `hcrun shard index`", path.display()
    )]
    Size { shard: ShardId, path: PathBuf, expected: u64, found: u64 },
    #[error(
        "shard `{shard}` at {} has SHA-256 {found}, its manifest says {expected}: restore the file, or index \
         it again with `hcrun shard index`", path.display()
    )]
    Hash { shard: ShardId, path: PathBuf, expected: String, found: String },
    #[error(transparent)]
    Table(#[from] TableError),
    #[error("shard `{shard}` does not fit the job")]
    Schema {
        shard: ShardId,
        #[source]
        source: Box<SchemaError>,
    },
}

/// Describes a shard. To be called in its home alone: nobody else may open the file.
///
/// A table is read through, under the job's `data` section: what a worker would stumble over is found here.
pub fn index(path: &Path, settings: &Shard, data: &Data) -> Result<ShardManifest, ShardFileError> {
    let bytes = read_plain(&settings.id, path, None)?;
    if bytes.is_empty() {
        return Err(ShardFileError::Empty { shard: settings.id.clone(), path: path.to_owned() });
    }
    let content = match data {
        Data::Text { .. } => Content::Text,
        Data::Csv { .. } => {
            let table = Table::parse(&settings.id, &bytes)?;
            check_rows(&settings.id, &table, data)?;
            Content::Csv { rows: table.len() as u64, columns: table.columns() }
        }
    };
    Ok(ShardManifest {
        id: settings.id.clone(),
        bytes: bytes.len() as u64,
        sha256: sha256_hex(&bytes),
        sensitivity: settings.sensitivity,
        home: settings.home.clone(),
        allowed_zones: settings.allowed_zones.clone(),
        min_contributors: None,
        min_rows: None,
        content,
    })
}

/// The bytes of a shard, exactly those that its manifest describes.
///
/// Whether this worker's zone may hold the shard is asked before (`hcrun_protocol::residency::may_hold`).
pub fn open_checked(manifest: &ShardManifest, path: &Path) -> Result<Vec<u8>, ShardFileError> {
    let (shard, path_owned) = (|| manifest.id.clone(), || path.to_owned());
    let bytes = read_plain(&manifest.id, path, Some(manifest.bytes))?;
    let found = sha256_hex(&bytes);
    if found != manifest.sha256 {
        let expected = manifest.sha256.clone();
        return Err(ShardFileError::Hash { shard: shard(), path: path_owned(), expected, found });
    }
    Ok(bytes)
}

/// Reads a plain file once. With an expected size, a file of another size is not read at all.
fn read_plain(shard: &ShardId, path: &Path, expected: Option<u64>) -> Result<Vec<u8>, ShardFileError> {
    let (id, at) = (|| shard.clone(), || path.to_owned());
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => ShardFileError::Missing { shard: id(), path: at() },
        _ => ShardFileError::Read { shard: id(), path: at(), source },
    };
    // Asked before opening: opening a pipe would wait for its writer.
    let metadata = fs::metadata(path).map_err(failed)?;
    if !metadata.is_file() {
        let kind = if metadata.is_dir() { "a directory" } else { "a device, pipe or socket" };
        return Err(ShardFileError::NotAFile { shard: id(), path: at(), kind });
    }
    let check = |found: u64| match expected {
        Some(expected) if expected != found => {
            Err(ShardFileError::Size { shard: id(), path: at(), expected, found })
        }
        _ => Ok(()),
    };
    check(metadata.len())?;
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0));
    let mut file =
        File::open(path).map_err(failed)?.take(expected.map_or(u64::MAX, |bytes| bytes.saturating_add(1)));
    file.read_to_end(&mut bytes).map_err(failed)?;
    check(bytes.len() as u64)?;
    Ok(bytes)
}

/// Encodes every row as training will. Columns that have to be of numbers are taken for such, so that a
/// word among them is reported by its line.
fn check_rows(shard: &ShardId, table: &Table, data: &Data) -> Result<(), ShardFileError> {
    let columns: Vec<Column> =
        table.header().iter().map(|name| Column { name: name.clone(), kind: ColumnKind::Number }).collect();
    let schema = Schema::new(data, &columns)
        .map_err(|source| ShardFileError::Schema { shard: shard.clone(), source: Box::new(source) })?;
    Rows::encode(&schema, table)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use hcrun_protocol::manifest::Sensitivity;

    use super::*;

    fn settings() -> Shard {
        Shard {
            id: ShardId::new("emma").unwrap(),
            path: None,
            sensitivity: Sensitivity::Public,
            home: None,
            allowed_zones: Vec::new(),
        }
    }

    fn csv() -> Data {
        serde_json::from_str(r#"{"format":"csv","held_out":0.2,"target":"y","ignore":["note"]}"#).unwrap()
    }

    #[test]
    fn what_was_indexed_opens_and_what_changed_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("emma.txt");
        fs::write(&path, "Emma Woodhouse, handsome").unwrap();
        let manifest = index(&path, &settings(), &Data::Text { held_out: 0.1 }).unwrap();
        assert_eq!(open_checked(&manifest, &path).unwrap(), b"Emma Woodhouse, handsome");

        fs::write(&path, "Emma Woodhouse, Handsome").unwrap();
        let error = open_checked(&manifest, &path).unwrap_err().to_string();
        for part in ["shard `emma`", path.to_str().unwrap(), &manifest.sha256] {
            assert!(error.contains(part), "{error}");
        }
        fs::write(&path, "Emma").unwrap();
        let error = open_checked(&manifest, &path).unwrap_err();
        assert!(matches!(error, ShardFileError::Size { expected: 24, found: 4, .. }), "{error}");
        fs::remove_file(&path).unwrap();
        assert!(matches!(open_checked(&manifest, &path), Err(ShardFileError::Missing { .. })));
    }

    #[test]
    fn only_plain_files_with_content_are_shards() {
        let folder = tempfile::tempdir().unwrap();
        let text = Data::Text { held_out: 0.1 };
        let empty = folder.path().join("empty");
        fs::write(&empty, "").unwrap();
        assert!(matches!(index(&empty, &settings(), &text), Err(ShardFileError::Empty { .. })));
        let error = index(folder.path(), &settings(), &text).unwrap_err().to_string();
        assert!(error.ends_with("is a directory: a shard is a plain file"), "{error}");
        let socket = folder.path().join("socket");
        let _listener = UnixListener::bind(&socket).unwrap();
        let error = index(&socket, &settings(), &text).unwrap_err().to_string();
        assert!(error.contains("a device, pipe or socket"), "{error}");
    }

    #[test]
    fn a_table_is_indexed_with_columns_and_checked_by_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.csv");
        fs::write(&path, "a,note,y\n1,x,2\n3,y,4\n").unwrap();
        let Content::Csv { rows, columns } = index(&path, &settings(), &csv()).unwrap().content else {
            panic!("indexed as text");
        };
        let kinds: Vec<ColumnKind> = columns.iter().map(|column| column.kind).collect();
        assert_eq!((rows, kinds), (2, vec![ColumnKind::Number, ColumnKind::Text, ColumnKind::Number]));

        fs::write(&path, "a,note,y\n1,x,2\nthree,y,4\n").unwrap();
        let error = index(&path, &settings(), &csv()).unwrap_err().to_string();
        assert!(error.starts_with("shard `emma`, line 3, column `a`: not a number"), "{error}");
        fs::write(&path, "a,note\n1,x\n").unwrap();
        let error = index(&path, &settings(), &csv()).unwrap_err();
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert!(source.starts_with("data.target is `y`"), "{source}");
    }
}
