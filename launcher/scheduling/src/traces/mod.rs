//! Traces of jobs, as their authors publish them.

mod beside;
mod columns;
pub mod gavel;
pub mod hcrun;
mod mersenne;
mod muri;
pub mod openb;
mod philly;
mod pollux;
mod settings;
pub mod spot;
mod swf;
pub mod synthetic;
mod table;

use hcrun_protocol::time::Time;

use crate::job::{JobSpec, Workload, WorkloadError};

pub use columns::{Columns, ColumnsError};

pub use beside::Beside;
pub use settings::SettingsError;
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
    #[error("the mapping of columns: {0}")]
    Columns(#[from] ColumnsError),
    #[error("line {line}: job `{id}` is there twice, first in line {first}")]
    Duplicate { line: u64, first: u64, id: String },
    #[error("line {line}: it is not UTF-8 text")]
    NotText { line: u64 },
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error(transparent)]
    Throughputs(#[from] gavel::TableFileError),
    #[error("a trace of the format `{0}` needs a fleet whose device models it knows")]
    NeedsFleet(String),
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
    /// What stands in the place of a path, where it is none.
    pub source: Source,
    read: Reader,
}

/// What a trace is read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// A path of a file.
    File,
    /// A folder, or this file in it.
    Folder(&'static str),
    /// Settings from which it is made.
    Settings,
    /// A file, and after a comma settings; the fleet's device models matter too.
    FileAndSettings,
}

#[derive(Debug, Clone, Copy)]
enum Reader {
    Alone(fn(&str) -> Result<Workload, TraceError>),
    WithFolder(fn(&str, &Beside) -> Result<Workload, TraceError>),
    /// Through a function of its own.
    OnFleet,
}

impl Format {
    const fn alone(
        name: &'static str,
        what: &'static str,
        read: fn(&str) -> Result<Workload, TraceError>,
    ) -> Format {
        Format { name, what, folder: None, source: Source::File, read: Reader::Alone(read) }
    }
}

pub const FORMATS: &[Format] = &[
    Format::alone("hcrun", "what `hcrun record` writes; times in s", hcrun::read),
    Format::alone("muri", "Muri's trace-data CSV; times in ms", muri::read),
    Format::alone("philly", "Philly flattened to CSV, as in AdaptDL", philly::read),
    Format::alone("swf", "Standard Workload Format, as Slurm's logs are published", swf::read),
    Format::alone(
        "csv",
        "any CSV; `submit`, `duration` and `gpus` say which columns hold them",
        columns::read,
    ),
    Format {
        name: "synthetic",
        what: "made up from settings such as jobs=500,rate=6; no outside data",
        folder: None,
        source: Source::Settings,
        read: Reader::Alone(synthetic::read),
    },
    Format {
        name: "pollux",
        what: "Pollux's workload CSV, with the profiles of its applications; times in s",
        folder: Some("../profiles"),
        source: Source::File,
        read: Reader::WithFolder(pollux::read),
    },
    Format {
        name: "gavel",
        what: "Gavel's throughput table, then settings such as rate=4,jobs=6000, or trace=FILE",
        folder: None,
        source: Source::FileAndSettings,
        read: Reader::OnFleet,
    },
    Format {
        name: "openb",
        what: "pods of whole devices of Alibaba's openb lists in a folder; `--cluster openb:FOLDER` has the nodes",
        folder: None,
        source: Source::Folder("openb_pod_list_default.csv"),
        read: Reader::Alone(openb::read),
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
        Reader::OnFleet => Err(TraceError::NeedsFleet(name.to_owned())),
    }
}

/// Reads bytes that may not be text. `columns` says which columns of a `csv` hold what.
///
/// # Errors
/// An unknown format, a mapping that makes no sense, or the first line that cannot be understood.
pub fn read_bytes(format: &str, bytes: &[u8], columns: Option<&str>) -> Result<Workload, TraceError> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let before = &bytes[..error.valid_up_to()];
        TraceError::NotText { line: 1 + before.iter().filter(|byte| **byte == b'\n').count() as u64 }
    })?;
    match columns {
        Some(columns) if format == "csv" => Columns::parse(columns)?.read(text),
        Some(_) => Err(ColumnsError::Fixed(format.to_owned()).into()),
        None => read(format, text),
    }
}

/// Jobs with the lines that they were read from.
fn workload(jobs: Vec<(u64, JobSpec)>) -> Result<Workload, TraceError> {
    let (lines, jobs): (Vec<u64>, Vec<JobSpec>) = jobs.into_iter().unzip();
    Workload::new(jobs).map_err(|error| match error {
        WorkloadError::Duplicate { row, first, id } => {
            TraceError::Duplicate { line: lines[row - 1], first: lines[first - 1], id }
        }
        other => other.into(),
    })
}

/// Counts times from the first submission.
fn from_first_submission(jobs: &mut [(u64, JobSpec)]) {
    let first = jobs.iter().map(|(_, job)| job.submit).min().unwrap_or(Time::ZERO);
    for (_, job) in jobs {
        job.submit = Time(job.submit.since(first).0);
        job.deadline = job.deadline.map(|deadline| Time(deadline.since(first).0));
    }
}
