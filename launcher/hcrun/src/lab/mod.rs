//! The scheduling lab: traces rehearsed under strategies, on all cores, and what came of it as table, files and report.

mod charts;
mod inputs;
mod metrics;
mod replay;
mod report;
mod spot;
mod sweep;
mod table;

use std::path::Path;

use hcrun_scheduling::simulator::Course;

pub(crate) use inputs::{Inputs, quoted, read};
pub(crate) use metrics::{METRICS, Metric};
pub(crate) use replay::{Replay, replay, replay_text};
pub(crate) use sweep::{Results, sweep};
pub(crate) use table::{Document, aligned, text, to_csv};

use crate::codes;
use crate::failure::{Failure, Result};

/// Writes a file that was asked for, whole or not at all.
pub(crate) fn write(path: &Path, what: &str, content: &str) -> Result<()> {
    let failed = |error: &dyn std::error::Error| {
        Failure::new(&codes::WOULD_OVERWRITE, format!("cannot write the {what}"))
            .at(path.display().to_string())
            .caused_by(error)
            .hint("name a file in a directory that exists and may be written")
    };
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(directory).map_err(|error| failed(&error))?;
    std::io::Write::write_all(&mut file, content.as_bytes()).map_err(|error| failed(&error))?;
    file.persist(path).map(drop).map_err(|error| failed(&error))
}

/// What happens to spot capacity on the trace as it is.
pub(crate) fn course(inputs: &Inputs) -> Result<Course> {
    spot::course(&inputs.spot, &inputs.fleet, 0, inputs.seeds)
}

/// Writes the report of `results`.
pub(crate) fn write_report(path: &Path, inputs: &Inputs, results: &Results) -> Result<()> {
    write(path, "report", &report::to_html(inputs, results))
}
