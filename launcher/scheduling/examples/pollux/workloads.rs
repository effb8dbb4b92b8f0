//! Pollux's workloads from the folder of traces.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use hcrun_scheduling::Workload;
use hcrun_scheduling::traces::{self, Beside};

/// Workload 1 to 8. Panics where a file is missing or malformed, with its name.
pub(crate) fn read(folder: &Path, number: u32) -> Workload {
    let folder = folder.join("philly-pollux");
    let file = folder.join(format!("workloads/workload-{number}.csv"));
    let beside = Beside::new(files(&folder.join("profiles")).expect("profiles are readable"));
    let workload = traces::read_with("pollux", &text(&file).expect("the workload is readable"), &beside);
    workload.unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

fn files(folder: &Path) -> io::Result<BTreeMap<String, String>> {
    let mut files = BTreeMap::new();
    for application in std::fs::read_dir(folder)? {
        let application = application?;
        for file in std::fs::read_dir(application.path())? {
            let file = file?;
            let name = format!("{}/{}", application.file_name().display(), file.file_name().display());
            files.insert(name, text(&file.path())?);
        }
    }
    Ok(files)
}

fn text(file: &Path) -> io::Result<String> {
    let named = |error| io::Error::other(format!("{}: {error}", file.display()));
    std::fs::read_to_string(file).map_err(named)
}
