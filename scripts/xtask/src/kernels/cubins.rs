//! Compiles all kernels for all architectures. Needs NVRTC, one library, and neither a GPU nor a driver.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs};

use anyhow::{Context, bail, ensure};

use crate::{cargo_path, run, target_folder};

/// What to do where the compiler cannot be had.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    Fails,
    Skips,
}

pub(super) fn compile(missing: Missing, flags: &[&str]) -> anyhow::Result<()> {
    let nvrtc = match nvrtc() {
        Ok(nvrtc) => nvrtc,
        Err(error) if missing == Missing::Skips => {
            println!("kernels: not compiled: {error:#}");
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    let mut cargo = Command::new(cargo_path());
    cargo.args(["run", "--quiet", "-p", "hcrun-kernels", "--example", "cubins", "--"]);
    cargo.arg(cubins_folder()).arg(TABLE).args(flags).env("HCRUN_NVRTC", nvrtc);
    run(&mut cargo)
}

/// Where the cubins of the last compilation lie.
pub(crate) fn cubins_folder() -> PathBuf {
    target_folder().join("kernels")
}

/// The library that `HCRUN_NVRTC` names, or the one of the wheel, which is installed on first use.
fn nvrtc() -> anyhow::Result<OsString> {
    if let Some(chosen) = env::var_os("HCRUN_NVRTC").filter(|chosen| !chosen.is_empty()) {
        return Ok(chosen);
    }
    let requirements = fs::read_to_string(REQUIREMENTS).context(REQUIREMENTS)?;
    let version = requirements.split("==").nth(1).and_then(|rest| rest.split_whitespace().next());
    let folder =
        target_folder().join("nvrtc").join(version.context("scripts/xtask/nvrtc.txt names no version")?);
    if !folder.exists() {
        install(&folder)?;
    }
    let library = folder.join("nvidia/cuda_nvrtc/lib/libnvrtc.so.12");
    ensure!(
        library.exists(),
        "{} is not there: remove {} and try again",
        library.display(),
        folder.display()
    );
    Ok(library.into_os_string())
}

/// Into a folder beside, then renamed: what is there is whole.
fn install(folder: &Path) -> anyhow::Result<()> {
    let partial = folder.with_extension("partial");
    if partial.exists() {
        fs::remove_dir_all(&partial).with_context(|| partial.display().to_string())?;
    }
    println!("kernels: installing NVRTC into {} (about 90 MB)", folder.display());
    let mut pip = Command::new("python3");
    pip.args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--no-deps",
        "--only-binary=:all:",
    ]);
    pip.args(["--root-user-action=ignore", "--require-hashes", "-r", REQUIREMENTS, "--target"])
        .arg(&partial)
        .stdin(Stdio::null());
    let status =
        pip.status().context("python3 cannot be started; its pip installs NVRTC, or set HCRUN_NVRTC")?;
    if !status.success() {
        bail!(
            "pip cannot install NVRTC (see above): python3 needs pip and a network or a mirror (PIP_INDEX_URL); or set \
             HCRUN_NVRTC to libnvrtc.so.12"
        );
    }
    fs::rename(&partial, folder).with_context(|| folder.display().to_string())
}

const TABLE: &str = "kernels/cuda/resources.txt";
const REQUIREMENTS: &str = "scripts/xtask/nvrtc.txt";
