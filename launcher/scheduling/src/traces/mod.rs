//! Traces of jobs, as their authors publish them.

mod beside;
mod muri;
mod philly;
mod pollux;
mod table;

use crate::job::{Workload, WorkloadError};

pub use beside::Beside;
pub use table::TableError;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TraceError {
    #[error(transparent)]
    Table(#[from] TableError),
    #[error("{file}, {error}")]
    File { file: String, error: TableError },
    #[error("file `{0}` is missing beside the trace")]
    NoFile(String),
    #[error("file `{file}` beside the trace is not named {form}")]
    FileName { file: String, form: &'static str },
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
    /// The folder whose files belong to a trace, relative to the trace's own; none: it is one file.
    pub folder: Option<&'static str>,
    read: Reader,
}

#[derive(Debug, Clone, Copy)]
enum Reader {
    Alone(fn(&str) -> Result<Workload, TraceError>),
    WithFolder(fn(&str, &Beside) -> Result<Workload, TraceError>),
}

impl Format {
    const fn alone(
        name: &'static str,
        what: &'static str,
        read: fn(&str) -> Result<Workload, TraceError>,
    ) -> Format {
        Format { name, what, folder: None, read: Reader::Alone(read) }
    }
}

pub const FORMATS: &[Format] = &[
    Format::alone("muri", "Muri's trace-data CSV; times in ms", muri::read),
    Format::alone("philly", "Philly flattened to CSV, as in AdaptDL", philly::read),
    Format {
        name: "pollux",
        what: "Pollux's workload CSV, with the profiles of its applications; times in s",
        folder: Some("../profiles"),
        read: Reader::WithFolder(pollux::read),
    },
];

/// The names of all formats, for messages.
pub fn names() -> String {
    FORMATS.iter().map(|format| format.name).collect::<Vec<_>>().join(", ")
}

/// The format of this name.
///
/// # Errors
/// If there is none.
pub fn format(name: &str) -> Result<&'static Format, TraceError> {
    let found = FORMATS.iter().find(|known| known.name == name);
    found.ok_or_else(|| TraceError::UnknownFormat(name.to_owned()))
}

/// A trace that is one file.
///
/// # Errors
/// An unknown format, or the first line that cannot be understood.
pub fn read(format: &str, text: &str) -> Result<Workload, TraceError> {
    read_with(format, text, &Beside::default())
}

/// A trace and the files of [`Format::folder`], by their path inside it.
///
/// # Errors
/// An unknown format, a missing file, or the first line that cannot be understood.
pub fn read_with(name: &str, text: &str, beside: &Beside) -> Result<Workload, TraceError> {
    match format(name)?.read {
        Reader::Alone(read) => read(text),
        Reader::WithFolder(read) => read(text, beside),
    }
}
