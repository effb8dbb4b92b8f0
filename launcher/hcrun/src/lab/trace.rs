//! Jobs from a trace, as `--trace FORMAT:SOURCE` says.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use hcrun_scheduling::traces::hcrun::Recording;
use hcrun_scheduling::traces::openb;
use hcrun_scheduling::traces::{self, Beside, Source, TraceError};
use hcrun_scheduling::{Fleet, Workload};

use crate::cli::LabArgs;
use crate::codes;
use crate::failure::{Failure, Result};
use crate::settings;

/// Far above any published trace.
const MAX_TRACE_BYTES: u64 = 1 << 30;

/// The jobs, and what is to be known of them.
pub(super) fn workload(args: &LabArgs, fleet: &Fleet) -> Result<(Workload, Vec<String>)> {
    let trace = args.trace.as_deref().unwrap_or_default();
    let Some((format, source)) = trace.split_once(':') else {
        return Err(Failure::new(&codes::USAGE, format!("`--trace {trace}` does not name its format"))
            .because("a trace is given as FORMAT:PATH")
            .hint(format!("write the format before the path; there are {}", traces::names())));
    };
    let mut notes = Vec::new();
    let workload = read(format, source, args.columns.as_deref(), fleet, &mut notes)?;
    at_home(&workload, fleet, trace, format)?;
    Ok((workload, notes))
}

fn read(
    format: &str,
    source: &str,
    columns: Option<&str>,
    fleet: &Fleet,
    notes: &mut Vec<String>,
) -> Result<Workload> {
    let fail = |error: &TraceError| malformed(source, format, error);
    let known = traces::format(format).map_err(|error| fail(&error))?;
    match known.source {
        Source::Settings => traces::read(format, source).map_err(|error| fail(&error)),
        Source::FileAndSettings => gavel(source, fleet),
        Source::Folder(name) => {
            let path = in_folder(Path::new(source), name);
            let jobs = openb::jobs(&read_text(&path)?);
            let jobs = jobs.map_err(|error| malformed(&path.display().to_string(), format, &error))?;
            let openb::Jobs { workload, sharing, without, never_scheduled } = jobs;
            notes.push(format!(
                "jobs are the {} pods of whole devices that were scheduled; left out: {sharing} that share a device, {without} \
                 without one, {never_scheduled} that were never scheduled",
                workload.len()
            ));
            Ok(workload)
        }
        Source::File => {
            let path = Path::new(source);
            let Some(folder) = known.folder else {
                return traces::read_bytes(format, &read_bytes(path)?, columns).map_err(|error| fail(&error));
            };
            let folder = path.parent().unwrap_or(Path::new(".")).join(folder);
            traces::read_with(format, &read_text(path)?, &beside(&folder)?).map_err(|error| fail(&error))
        }
    }
}

/// `TABLE,rate=4,jobs=6000` makes jobs up; `TABLE,trace=FILE` reads them.
fn gavel(source: &str, fleet: &Fleet) -> Result<Workload> {
    let (table, settings) = source.split_once(',').unwrap_or((source, ""));
    let trace = settings.strip_prefix("trace=").map(|path| read_text(Path::new(path))).transpose()?;
    let table_text = read_text(Path::new(table))?;
    traces::gavel::workload(&table_text, &fleet.kinds, settings, trace.as_deref()).map_err(|error| {
        let failure = malformed(source, "gavel", &error);
        let models = "give the pools of the cluster file the table's device models: examples/scheduling/gavel.toml has them";
        match error {
            TraceError::Throughputs(_) => failure.hint(models),
            _ => failure,
        }
    })
}

/// Data is in a zone of the cluster, and its rule makes sense there: otherwise all such jobs would be refused, one by one.
fn at_home(workload: &Workload, fleet: &Fleet, trace: &str, format: &str) -> Result<()> {
    for job in workload.jobs() {
        let Err(error) = job.allowed_pools(fleet) else { continue };
        let key = match format {
            "synthetic" => "setting `home`".to_owned(),
            _ => format!("job `{}`", job.id),
        };
        let zones: Vec<&str> = fleet.zones.iter().map(|zone| zone.name.as_str()).collect();
        return Err(Failure::new(&codes::TRACE_MALFORMED, "the trace does not fit the cluster")
            .at(trace.to_owned())
            .because(format!("{key}: {error}"))
            .hint(format!("name a zone of the cluster; it has {}", zones.join(", "))));
    }
    Ok(())
}

/// The file of this name, if `path` is a folder.
pub(super) fn in_folder(path: &Path, name: &str) -> PathBuf {
    if path.is_dir() { path.join(name) } else { path.to_owned() }
}

pub(super) fn recording(path: &Path) -> Result<Recording> {
    let fail = |error: &TraceError| malformed(&path.display().to_string(), "hcrun", error);
    traces::hcrun::recording(&read_text(path)?).map_err(|error| fail(&error))
}

fn malformed(path: &str, format: &str, error: &TraceError) -> Failure {
    Failure::new(&codes::TRACE_MALFORMED, format!("cannot use the trace `{path}` as {format}"))
        .at(path.to_owned())
        .because(error.to_string())
}

pub(super) fn read_text(path: &Path) -> Result<String> {
    String::from_utf8(read_bytes(path)?).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        unreadable(path, format!("byte {at} is not UTF-8"))
    })
}

fn read_bytes(path: &Path) -> Result<Vec<u8>> {
    settings::read_bounded(path, MAX_TRACE_BYTES).map_err(|cause| unreadable(path, cause))
}

fn unreadable(path: &Path, cause: String) -> Failure {
    Failure::new(&codes::FILE_UNREADABLE, "cannot read the trace")
        .at(path.display().to_string())
        .because(cause)
}

/// The files of a trace's folder, one level deep.
fn beside(folder: &Path) -> Result<Beside> {
    let unreadable = |path: &Path, cause: String| {
        Failure::new(&codes::FILE_UNREADABLE, "cannot read the folder that belongs to the trace")
            .at(path.display().to_string())
            .because(cause)
    };
    let list = |path: &Path| {
        let entries = std::fs::read_dir(path).and_then(|entries| {
            entries.map(|entry| entry.map(|entry| entry.path())).collect::<std::io::Result<Vec<_>>>()
        });
        entries.map_err(|error| unreadable(path, error.to_string()))
    };
    let mut files = BTreeMap::new();
    for inner in list(folder)?.into_iter().filter(|path| path.is_dir()) {
        for path in list(&inner)?.into_iter().filter(|path| path.is_file()) {
            let bytes = settings::read_bounded(&path, settings::MAX_FILE_BYTES);
            let text = bytes.and_then(|bytes| String::from_utf8(bytes).map_err(|error| error.to_string()));
            let text = text.map_err(|cause| unreadable(&path, cause))?;
            let name = path.strip_prefix(folder).unwrap_or(&path).to_string_lossy().into_owned();
            files.insert(name, text);
        }
    }
    Ok(Beside::new(files))
}
