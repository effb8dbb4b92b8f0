//! Names the build: version and source revision, so that two sides of a job can tell whether they are the
//! same program.

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=../../.git/HEAD");
    println!("cargo::rerun-if-changed=../../.git/refs/heads");
    println!("cargo::rerun-if-env-changed=HCRUN_REVISION");
    let revision = std::env::var("HCRUN_REVISION").ok().or_else(git_revision);
    let version = std::env::var("CARGO_PKG_VERSION").unwrap_or_default();
    let build = revision.map_or_else(|| version.clone(), |revision| format!("{version} ({revision})"));
    println!("cargo::rustc-env=HCRUN_BUILD={build}");
}

/// None outside of a git checkout: then the version alone has to do.
fn git_revision() -> Option<String> {
    let output = Command::new("git").args(["rev-parse", "--short=12", "HEAD"]).output().ok()?;
    let revision = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !revision.is_empty()).then_some(revision)
}
