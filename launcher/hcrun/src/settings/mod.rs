//! Settings files (TOML) with errors that name file, line, column and key.
//!
//! serde's own errors lose the place inside tagged tables, so a file is first read into a tree that keeps
//! places ([`tree`]), checked against a table of keys ([`schema`]), and only then given to serde.

pub mod cluster_keys;
pub mod job_keys;
pub mod reference;
pub mod schema;
pub mod tree;

use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde::de::DeserializeOwned;

use crate::codes;
use crate::failure::{Failure, Result};
use schema::{Key, Kind};
use tree::Document;

/// Far above any real settings file; a wrong path may name anything.
pub const MAX_FILE_BYTES: u64 = 1 << 20;

/// Reads a settings file that a person wrote. `kind` names it in errors: "job file".
pub fn read_text(path: &Path, kind: &str) -> Result<String> {
    let fail = |cause: String| {
        Failure::new(&codes::FILE_UNREADABLE, format!("cannot read the {kind}"))
            .at(path.display().to_string())
            .because(cause)
    };
    let bytes = read_bounded(path, MAX_FILE_BYTES).map_err(&fail)?;
    let text = String::from_utf8(bytes)
        .map_err(|error| fail(format!("byte {} is not UTF-8", error.utf8_error().valid_up_to())))?;
    if text.trim().is_empty() {
        return Err(fail("the file is empty".to_owned()));
    }
    Ok(text)
}

/// All bytes of a plain file of at most `limit` bytes; the error says why not.
pub fn read_bounded(path: &Path, limit: u64) -> Result<Vec<u8>, String> {
    // Asked before opening: opening a FIFO would wait for a writer.
    let metadata = std::fs::metadata(path).map_err(|error| error.to_string())?;
    if metadata.is_dir() {
        return Err("it is a directory".to_owned());
    }
    if !metadata.is_file() {
        return Err("it is not a plain file".to_owned());
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| error.to_string())?;
    file.take(limit + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() as u64 > limit {
        return Err(format!("it is larger than {limit} bytes"));
    }
    Ok(bytes)
}

/// Checks a document against its table of keys and gives it to serde.
pub fn parse<T: DeserializeOwned>(document: &Document, keys: &'static [Key]) -> Result<T> {
    schema::check(document, &document.root, &Kind::Table(keys), "")?;
    // The schema has looked at everything that serde could refuse; what is left is an error of ours.
    T::deserialize(document.root.to_toml()).map_err(|error| {
        Failure::new(&codes::JOB_WRONG_TYPE, format!("cannot use the {}", document.kind))
            .at(document.name.clone())
            .because(error.message().to_owned())
    })
}
