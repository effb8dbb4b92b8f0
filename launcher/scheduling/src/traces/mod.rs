//! Traces of jobs, as their authors publish them.

mod columns;
pub mod gavel;
mod mersenne;
mod muri;
pub mod openb;
mod philly;
mod settings;
mod swf;
pub mod synthetic;
mod table;

use hcrun_protocol::time::Time;

use crate::job::{JobSpec, Workload, WorkloadError};

pub use columns::{Columns, ColumnsError};

pub use settings::SettingsError;
pub use table::TableError;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TraceError {
    #[error(transparent)]
    Table(#[from] TableError),
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
    Format { name: "muri", what: "Muri's trace-data CSV; times in ms", read: muri::read },
    Format { name: "philly", what: "Philly flattened to CSV, as in AdaptDL", read: philly::read },
    Format { name: "swf", what: "Standard Workload Format, as Slurm's logs are published", read: swf::read },
    Format {
        name: "csv",
        what: "any CSV; `submit`, `duration` and `gpus` say which columns hold them",
        read: columns::read,
    },
    Format {
        name: "synthetic",
        what: "made up from settings such as jobs=500,rate=6; no outside data",
        read: synthetic::read,
    },
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
    let mut by_id: Vec<(&str, u64)> = jobs.iter().map(|(line, job)| (job.id.as_str(), *line)).collect();
    by_id.sort_unstable();
    let twice = by_id.windows(2).filter(|pair| pair[0].0 == pair[1].0);
    if let Some(pair) = twice.min_by_key(|pair| pair[1].1) {
        let ((id, first), (_, line)) = (pair[0], pair[1]);
        return Err(TraceError::Duplicate { line, first, id: id.to_owned() });
    }
    Ok(Workload::new(jobs.into_iter().map(|(_, job)| job).collect())?)
}

/// Counts times from the first submission.
fn from_first_submission(jobs: &mut [(u64, JobSpec)]) {
    let first = jobs.iter().map(|(_, job)| job.submit).min().unwrap_or(Time::ZERO);
    for (_, job) in jobs {
        job.submit = Time(job.submit.since(first).0);
        job.deadline = job.deadline.map(|deadline| Time(deadline.since(first).0));
    }
}
