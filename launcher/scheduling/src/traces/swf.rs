//! The Standard Workload Format of the Parallel Workloads Archive, in which Slurm's logs are published: one job a line,
//! 18 numbers, -1 for what is not known, comments after `;`. Source: Feitelson, "The Standard Workload Format", v2.2.

use hcrun_protocol::time::{Span, Time};

use super::table::TableError;
use super::{TraceError, from_first_submission, workload};
use crate::job::{JobSpec, Workload};
use crate::work::Work;

/// The fields that are read, by their names and places in the format.
const ID: (&str, usize) = ("job number", 0);
const SUBMIT: (&str, usize) = ("submit time", 1);
const RUN: (&str, usize) = ("run time", 3);
const ALLOCATED: (&str, usize) = ("allocated processors", 4);
const REQUESTED: (&str, usize) = ("requested processors", 7);
const LIMIT: (&str, usize) = ("requested time", 8);
const USER: (&str, usize) = ("user", 11);
const FIELDS: usize = 18;

/// Processors count as devices. Jobs that never ran, of which the run time is not known, are left out.
pub(super) fn read(text: &str) -> Result<Workload, TraceError> {
    let mut jobs = Vec::new();
    for (line, row) in (1..).zip(text.lines()) {
        let row = row.split_once(';').map_or(row, |(before, _)| before);
        let fields: Vec<&str> = row.split_whitespace().collect();
        if fields.is_empty() {
            continue;
        }
        if fields.len() != FIELDS {
            let why = format!("it has {} fields, the format has {FIELDS}", fields.len());
            return Err(TableError::Row { line, why }.into());
        }
        if let Some(job) = job(&Line { line, fields: &fields })? {
            jobs.push((line, job));
        }
    }
    from_first_submission(&mut jobs);
    workload(jobs)
}

struct Line<'a> {
    line: u64,
    fields: &'a [&'a str],
}

fn job(line: &Line<'_>) -> Result<Option<JobSpec>, TableError> {
    let Some(run) = line.micros(RUN)? else { return Ok(None) };
    let submit = line.micros(SUBMIT)?.ok_or_else(|| line.wrong(SUBMIT, "a time of at least zero"))?;
    let devices = line.count(REQUESTED)?.or(line.count(ALLOCATED)?);
    let devices = devices.ok_or_else(|| line.wrong(REQUESTED, "a number of processors, at least one"))?;
    let mut job = JobSpec::rigid(line.fields[ID.1], Time(submit), devices, Span(run));
    if let Some(limit) = line.micros(LIMIT)?.filter(|limit| *limit > 0) {
        job.estimate = Work::taking(Span(limit));
    }
    job.tenant = line.fields[USER.1].to_owned();
    Ok(Some(job))
}

impl Line<'_> {
    /// Seconds, in microseconds; none if not known.
    fn micros(&self, field: (&str, usize)) -> Result<Option<u64>, TableError> {
        let what = "a time in seconds of at least zero, or -1";
        let seconds: f64 = self.fields[field.1].parse().map_err(|_| self.wrong(field, what))?;
        if seconds == -1.0 {
            return Ok(None);
        }
        if !(0.0..1e12).contains(&seconds) {
            return Err(self.wrong(field, what));
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "within the range just accepted"
        )]
        let micros = (seconds * 1e6).round() as u64;
        Ok(Some(micros))
    }

    fn count(&self, field: (&str, usize)) -> Result<Option<u32>, TableError> {
        match self.fields[field.1].parse() {
            Ok(-1) => Ok(None),
            Ok(count) => u32::try_from(count).ok().filter(|count| *count > 0).map(Some).ok_or(()),
            Err(_) => Err(()),
        }
        .map_err(|()| self.wrong(field, "a number of processors, at least one, or -1"))
    }

    fn wrong(&self, (name, index): (&str, usize), what: &'static str) -> TableError {
        let text = self.fields[index].to_owned();
        TableError::Field { line: self.line, column: name.to_owned(), text, what }
    }
}
