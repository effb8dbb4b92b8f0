//! Where traces are that are not part of the repository.
#![expect(clippy::print_stderr, reason = "a test that skips says so")]

use std::path::{Path, PathBuf};

/// `HCRUN_TRACES`, or the folder beside the repository; what is not there is said to be skipped.
pub(crate) fn traces_folder() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/traces");
    let folder = std::env::var_os("HCRUN_TRACES").map_or(beside, PathBuf::from);
    if folder.is_dir() {
        return Some(folder);
    }
    eprintln!("SKIPPED: there are no traces at {}; set HCRUN_TRACES to their folder", folder.display());
    None
}
