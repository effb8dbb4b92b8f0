//! The traces, which are not part of the repository.

use std::path::{Path, PathBuf};

/// The folder that `HCRUN_TRACES` names, or the one beside the repository; if there is none, the test is said to be skipped.
#[allow(clippy::print_stderr, reason = "a test that skips says so")]
pub(crate) fn traces_folder() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/traces");
    let folder = std::env::var_os("HCRUN_TRACES").map_or(beside, PathBuf::from);
    if folder.is_dir() {
        return Some(folder);
    }
    eprintln!("SKIPPED: there are no traces at {}; set HCRUN_TRACES to their folder", folder.display());
    None
}
