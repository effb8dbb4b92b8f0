//! Microsoft's Philly trace as AdaptDL flattens it: rigid jobs of several virtual clusters, in wall-clock seconds.

use hcrun_protocol::time::{Span, Time};
use time::{Date, Month};

use super::table::{Row, Table, TableError};
use super::{TraceError, from_first_submission, workload};
use crate::job::{JobSpec, Workload};

const COLUMNS: [&str; 4] = ["timestamp", "duration", "num_gpus", "cluster"];

pub(super) fn read(text: &str) -> Result<Workload, TraceError> {
    let mut jobs = Table::new(text, &COLUMNS, &["gpu_time"])?.rows(|row| {
        let submit = Time(timestamp(row)?);
        let duration = Span(row.micros("duration", 1e6)?);
        let mut job = JobSpec::rigid(row.line.to_string(), submit, row.devices("num_gpus")?, duration);
        job.tenant = row.text("cluster").to_owned();
        Ok((row.line, job))
    })?;
    from_first_submission(&mut jobs);
    workload(jobs)
}

/// `2017-10-03 20:31:26` in microseconds since 1970, as if it were UTC: the trace names no time zone.
fn timestamp(row: &Row<'_>) -> Result<u64, TableError> {
    let wrong = || row.wrong("timestamp", "a time such as 2017-10-03 20:31:26");
    let (date, clock) = row.text("timestamp").split_once([' ', 'T']).ok_or_else(wrong)?;
    let [year, month, day] = numbers(date, '-').ok_or_else(wrong)?;
    let [hour, minute, second] = numbers(clock, ':').ok_or_else(wrong)?;
    let moment = || {
        let month = Month::try_from(u8::try_from(month).ok()?).ok()?;
        let date =
            Date::from_calendar_date(i32::try_from(year).ok()?, month, u8::try_from(day).ok()?).ok()?;
        let [hour, minute, second] = [hour, minute, second].map(|number| u8::try_from(number).ok());
        date.with_hms(hour?, minute?, second?).ok()
    };
    let seconds = moment().map(|moment| moment.assume_utc().unix_timestamp()).ok_or_else(wrong)?;
    u64::try_from(seconds).map(|seconds| seconds * 1_000_000).map_err(|_| wrong())
}

fn numbers(text: &str, separator: char) -> Option<[u32; 3]> {
    let numbers: Option<Vec<u32>> = text.split(separator).map(|part| part.parse().ok()).collect();
    numbers?.try_into().ok()
}
