//! The files that a trace comes with.

use std::collections::BTreeMap;

use super::{TableError, TraceError};

/// Texts of files by their path inside the folder that belongs to a trace, as `bert/placements.csv`.
#[derive(Debug, Clone, Default)]
pub struct Beside(BTreeMap<String, String>);

impl Beside {
    pub fn new(files: BTreeMap<String, String>) -> Beside {
        Beside(files)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// The rows of a file through `read`, whose errors get its name; there must be some.
    pub(super) fn read<T>(
        &self,
        file: &str,
        read: impl FnOnce(&str) -> Result<Vec<T>, TableError>,
    ) -> Result<Vec<T>, TraceError> {
        let text = self.0.get(file).ok_or_else(|| TraceError::NoFile(file.to_owned()))?;
        let some = |rows: Vec<T>| match rows.is_empty() {
            true => Err(TableError::Row { line: 2, why: "there are no rows".to_owned() }),
            false => Ok(rows),
        };
        read(text).and_then(some).map_err(|error| TraceError::File { file: file.to_owned(), error })
    }
}
