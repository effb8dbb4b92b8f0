//! Compiles all kernels for all architectures. Needs NVRTC, one library, and neither a GPU nor a driver.

use std::path::PathBuf;
use std::process::Command;

use crate::wheel::Wheel;
use crate::{cargo_path, run, target_folder};

/// What to do where the compiler cannot be had.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    Fails,
    Skips,
}

pub(super) fn compile(missing: Missing, flags: &[&str]) -> anyhow::Result<()> {
    let nvrtc = match NVRTC.library() {
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

const TABLE: &str = "kernels/cuda/resources.txt";
const NVRTC: Wheel = Wheel {
    name: "NVRTC",
    requirements: "scripts/xtask/nvrtc.txt",
    library: "nvidia/cuda_nvrtc/lib/libnvrtc.so.12",
    variable: "HCRUN_NVRTC",
    megabytes: 90,
};
