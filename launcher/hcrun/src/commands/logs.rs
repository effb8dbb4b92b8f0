//! `hcrun logs`: what workers of this zone wrote. Logs of other zones stay there.

use std::fs;

use hcrun_protocol::SlotId;
use serde::Serialize;

use crate::cli::{Global, LogsArgs};
use crate::codes;
use crate::failure::{Failure, Result};
use crate::output::Output;
use crate::run_dir::{RunDir, files};

#[derive(Serialize)]
struct Log {
    slot: String,
    lines: Vec<String>,
}

pub(crate) fn logs(args: &LogsArgs, global: &Global, output: &Output) -> Result<()> {
    let run = RunDir::open(&global.runs_dir, &args.run.run)?;
    let logs = read(&run, args)?;
    output.answer(&logs, || {
        let lines =
            logs.iter().flat_map(|log| log.lines.iter().map(|line| format!("{} | {line}\n", log.slot)));
        lines.collect()
    });
    Ok(())
}

fn read(run: &RunDir, args: &LogsArgs) -> Result<Vec<Log>> {
    let unreadable = |place: String, cause: String| {
        Failure::new(&codes::FILE_UNREADABLE, "cannot read a log").at(place).because(cause)
    };
    let slots = match &args.slot {
        // Parsed, so that no path can be named.
        Some(slot) => vec![
            SlotId::parse(slot).map_err(|error| Failure::new(&codes::USAGE, error.to_string()))?.to_string(),
        ],
        None => {
            let directory = run.file(files::LOGS);
            let entries = fs::read_dir(&directory)
                .map_err(|error| unreadable(directory.display().to_string(), error.to_string()))?;
            let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
            let mut slots: Vec<String> =
                names.filter_map(|name| name.strip_suffix(".log").map(str::to_owned)).collect();
            slots.sort();
            slots
        }
    };
    slots
        .into_iter()
        .map(|slot| {
            let path = run.log(&slot);
            let bytes =
                fs::read(&path).map_err(|error| unreadable(path.display().to_string(), error.to_string()))?;
            let text = String::from_utf8_lossy(&bytes);
            let mut lines: Vec<String> = text.lines().map(crate::output::printable).collect();
            if let Some(last) = args.lines {
                lines.drain(..lines.len().saturating_sub(last));
            }
            Ok(Log { slot, lines })
        })
        .collect()
}
