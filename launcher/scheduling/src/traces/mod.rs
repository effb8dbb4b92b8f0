//! Traces of jobs, as their authors publish them.

pub mod hcrun;
mod muri;
mod philly;
mod table;

use crate::job::{Workload, WorkloadError};

pub use table::TableError;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TraceError {
    #[error(transparent)]
    Table(#[from] TableError),
    #[error(transparent)]
    Workload(#[from] WorkloadError),
    #[error("there is no trace format `{0}`; there are {known}", known = names())]
    UnknownFormat(String),
}

/// A reader of one format.
#[derive(Debug, Clone, Copy)]
pub struct Format {
    pub name: &'static str,
    pub what: &'static str,
    read: fn(&str) -> Result<Workload, TraceError>,
}

pub const FORMATS: &[Format] = &[
    Format { name: "hcrun", what: "what `hcrun record` writes; times in s", read: hcrun::read },
    Format { name: "muri", what: "Muri's trace-data CSV; times in ms", read: muri::read },
    Format { name: "philly", what: "Philly flattened to CSV, as in AdaptDL", read: philly::read },
];

/// The names of all formats, for messages.
pub fn names() -> String {
    FORMATS.iter().map(|format| format.name).collect::<Vec<_>>().join(", ")
}

/// # Errors
/// An unknown format, or the first line that cannot be understood.
pub fn read(format: &str, text: &str) -> Result<Workload, TraceError> {
    let found = FORMATS.iter().find(|known| known.name == format);
    (found.ok_or_else(|| TraceError::UnknownFormat(format.to_owned()))?.read)(text)
}
