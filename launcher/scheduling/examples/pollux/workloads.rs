//! Pollux's workloads from the folder of traces.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use hcrun_scheduling::Workload;
use hcrun_scheduling::traces::{self, Beside};

/// `HCRUN_TRACES`, or the folder beside the repository.
pub fn folder() -> PathBuf {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/traces");
    std::env::var_os("HCRUN_TRACES").map_or(beside, PathBuf::from).join("philly-pollux")
}

/// Workload 1 to 8.
pub fn read(folder: &Path, number: u32) -> Workload {
    let file = folder.join(format!("workloads/workload-{number}.csv"));
    let text = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    traces::read_with("pollux", &text, &profiles(&folder.join("profiles"))).unwrap()
}

fn profiles(folder: &Path) -> Beside {
    let mut files = BTreeMap::new();
    for application in std::fs::read_dir(folder).unwrap() {
        let application = application.unwrap();
        for file in std::fs::read_dir(application.path()).unwrap() {
            let file = file.unwrap();
            let name = format!("{}/{}", application.file_name().display(), file.file_name().display());
            files.insert(name, std::fs::read_to_string(file.path()).unwrap());
        }
    }
    Beside::new(files)
}
