//! Any CSV with a header, by a mapping that says which of its columns hold what.

use hcrun_protocol::time::{Span, Time};

use super::table::{Row, Table, TableError};
use super::{TraceError, from_first_submission, workload};
use crate::job::{Class, JobSpec, Workload};
use crate::work::Work;

/// What a job's row must say.
const NEEDED: [&str; 3] = ["submit", "duration", "gpus"];
/// What it may say.
const OPTIONAL: [&str; 6] = ["id", "class", "tenant", "deadline", "estimate", "model"];

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ColumnsError {
    #[error("`{0}` is not of the form key=column, as in submit=arrival,duration=seconds,gpus=num_gpu")]
    NotAPair(String),
    #[error("there is no key `{0}`; there are {known}, {optional}", known = NEEDED.join(", "), optional = OPTIONAL.join(", "))]
    Unknown(String),
    #[error("the key `{0}` is there twice")]
    Twice(String),
    #[error("the key `{0}` is missing; name the column that holds it: {0}=COLUMN")]
    Missing(&'static str),
    #[error("the trace format `{0}` has columns of its own: a mapping is for `csv`")]
    Fixed(String),
}

/// Which column of a CSV holds what. Times are in seconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Columns(Vec<(String, String)>);

impl Columns {
    /// Parses `submit=COLUMN,duration=COLUMN,gpus=COLUMN`, and if there are such columns `id`, `class`, `tenant`,
    /// `deadline`, `estimate` and `model`.
    ///
    /// # Errors
    /// Names the key that is unknown, missing or there twice.
    pub fn parse(text: &str) -> Result<Columns, ColumnsError> {
        let mut columns: Vec<(String, String)> = Vec::new();
        for pair in text.split(',') {
            let found = pair.split_once('=').map(|(key, column)| (key.trim(), column.trim()));
            let (key, column) = found
                .filter(|(key, column)| !key.is_empty() && !column.is_empty())
                .ok_or_else(|| ColumnsError::NotAPair(pair.trim().to_owned()))?;
            if !NEEDED.contains(&key) && !OPTIONAL.contains(&key) {
                return Err(ColumnsError::Unknown(key.to_owned()));
            }
            if columns.iter().any(|(known, _)| known == key) {
                return Err(ColumnsError::Twice(key.to_owned()));
            }
            columns.push((key.to_owned(), column.to_owned()));
        }
        let missing = NEEDED.iter().find(|key| !columns.iter().any(|(known, _)| known == *key));
        missing.map_or(Ok(Columns(columns)), |key| Err(ColumnsError::Missing(key)))
    }

    fn column(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == key).map(|(_, column)| column.as_str())
    }

    /// Times are counted from the first submission.
    ///
    /// # Errors
    /// The first line that cannot be understood.
    pub fn read(&self, text: &str) -> Result<Workload, TraceError> {
        let mut needed: Vec<&str> = Vec::new();
        for (_, column) in &self.0 {
            if !needed.contains(&column.as_str()) {
                needed.push(column);
            }
        }
        let mut jobs = Table::with(text, &needed)?.rows(|row| Ok((row.line, self.job(row)?)))?;
        from_first_submission(&mut jobs);
        workload(jobs)
    }

    fn job(&self, row: &Row<'_>) -> Result<JobSpec, TableError> {
        let column = |key| self.column(key).unwrap_or(key);
        let given = |key| self.column(key).filter(|column| !row.text(column).is_empty());
        let micros = |key| given(key).map(|column| row.micros(column, 1e6)).transpose();
        let submit = Time(row.micros(column("submit"), 1e6)?);
        let duration = Span(row.micros(column("duration"), 1e6)?);
        let line = row.line.to_string();
        let id = given("id").map_or(line.as_str(), |column| row.text(column));
        let mut job = JobSpec::rigid(id, submit, row.devices(column("gpus"))?, duration);
        if let Some(column) = given("class") {
            job.class = match row.text(column) {
                "opportunistic" => Class::Opportunistic,
                "normal" => Class::Normal,
                "guaranteed" => Class::Guaranteed,
                _ => return Err(row.wrong(column, "one of opportunistic, normal, guaranteed")),
            };
        }
        job.tenant = given("tenant").map_or_else(String::new, |column| row.text(column).to_owned());
        job.model = given("model").map_or_else(String::new, |column| row.text(column).to_owned());
        job.deadline = micros("deadline")?.map(Time);
        job.estimate = micros("estimate")?.map_or(job.estimate, |estimate| Work::taking(Span(estimate)));
        Ok(job)
    }
}

/// With columns that are called as the keys are.
pub(super) fn read(text: &str) -> Result<Workload, TraceError> {
    let header = Table::with(text, &NEEDED)?;
    let named = NEEDED.iter().chain(OPTIONAL.iter().filter(|key| header.has(key)));
    Columns(named.map(|key| ((*key).to_owned(), (*key).to_owned())).collect()).read(text)
}
