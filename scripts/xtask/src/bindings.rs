//! `cargo xtask bindings`: what `kernels/src/nccl` calls, from NCCL's own header.
//!
//! The header is of the oldest version that is supported: newer ones only add to it. bindgen is run as a program, so
//! that nothing of it is built for anything else.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail, ensure};

use crate::kernels::format_rust;
use crate::wheel::Wheel;
use crate::{cargo_path, target_folder};

pub(crate) fn run(words: &[&str]) -> anyhow::Result<()> {
    match words {
        [] => fs::write(BINDINGS, generate(&bindgen()?, &LIBCLANG.library()?)?).context(BINDINGS),
        ["--check"] => check(),
        _ => bail!("usage: cargo xtask bindings [--check]"),
    }
}

fn check() -> anyhow::Result<()> {
    // What is small first: without it nothing has to be built.
    let tools = LIBCLANG.library().and_then(|libclang| Ok((bindgen()?, libclang)));
    let (bindgen, libclang) = match tools {
        Ok(tools) => tools,
        Err(error) => {
            println!("bindings: SKIPPED: {error:#}");
            return Ok(());
        }
    };
    let committed = fs::read_to_string(BINDINGS).context(BINDINGS)?;
    ensure!(generate(&bindgen, &libclang)? == committed, "{BINDINGS} is stale; run `cargo xtask bindings`");
    Ok(())
}

fn generate(bindgen: &Path, libclang: &Path) -> anyhow::Result<String> {
    let mut command = Command::new(bindgen);
    command.env("LIBCLANG_PATH", libclang);
    command.args(["--dynamic-loading", "NcclApi", "--default-enum-style", "newtype", "--formatter", "none"]);
    command.args([
        "--disable-header-comment",
        "--wrap-unsafe-ops",
        "--rust-target",
        RUST,
        "--rust-edition",
        "2024",
    ]);
    command.args(FUNCTIONS.iter().flat_map(|function| ["--allowlist-function", function]));
    command.args(TYPES.iter().flat_map(|name| ["--allowlist-type", name]));
    command.args(["--allowlist-var", "NCCL_(VERSION_CODE|UNIQUE_ID_BYTES)"]);
    command.args([HEADER, "--", "-nostdinc", "-I", STUBS]);
    let output =
        command.output().with_context(|| format!("bindgen cannot be started: {}", bindgen.display()))?;
    ensure!(output.status.success(), "bindgen failed:\n{}", String::from_utf8_lossy(&output.stderr));
    let missing: String = FUNCTIONS.iter().map(|name| format!("({name:?}, self.{name}.is_err()),")).collect();
    format_rust(&format!(
        "{NOTICE}\n{}\n\
         impl NcclApi {{\n\
         /// The first function that the library lacks; the method of its name would panic.\n\
         pub fn missing(&self) -> Option<&'static str> {{\n\
         [{missing}].into_iter().find_map(|(name, is_missing)| is_missing.then_some(name))\n\
         }}\n}}\n",
        String::from_utf8(output.stdout)?
    ))
}

/// What `HCRUN_BINDGEN` names, or one of the pinned version, which is built on first use.
fn bindgen() -> anyhow::Result<PathBuf> {
    if let Some(chosen) = env::var_os("HCRUN_BINDGEN").filter(|chosen| !chosen.is_empty()) {
        return Ok(chosen.into());
    }
    let folder = target_folder().join("bindgen").join(VERSION);
    let program = folder.join("bin/bindgen");
    if !program.exists() {
        println!("bindings: building bindgen {VERSION} into {}", folder.display());
        let mut cargo = Command::new(cargo_path());
        cargo.args(["install", "--quiet", "--locked", "--no-default-features", "--features", "runtime"]);
        cargo.args(["--version", VERSION, "bindgen-cli", "--root"]).arg(&folder);
        crate::run(&mut cargo).context("bindgen cannot be built; HCRUN_BINDGEN may name one")?;
    }
    Ok(program)
}

const HEADER: &str = "kernels/nccl/nccl.h";
const STUBS: &str = "kernels/nccl/stubs";
const BINDINGS: &str = "kernels/src/nccl/bindings.rs";
const NOTICE: &str = "//! Made from kernels/nccl/nccl.h by `cargo xtask bindings`: change that.\n";
const VERSION: &str = "0.73.2";
/// As `rust-version` of the workspace.
const RUST: &str = "1.90";

/// What `kernels/src/nccl` calls. A library that lacks one is refused.
const FUNCTIONS: [&str; 16] = [
    "ncclGetVersion",
    "ncclGetErrorString",
    "ncclGetLastError",
    "ncclGetUniqueId",
    "ncclCommInitRankConfig",
    "ncclCommGetAsyncError",
    "ncclCommFinalize",
    "ncclCommDestroy",
    "ncclCommAbort",
    "ncclGroupStart",
    "ncclGroupEnd",
    "ncclAllReduce",
    "ncclReduceScatter",
    "ncclAllGather",
    "ncclReduce",
    "ncclBroadcast",
];
const TYPES: [&str; 3] = ["ncclConfig_t", "ncclDataType_t", "ncclRedOp_t"];

const LIBCLANG: Wheel = Wheel {
    name: "libclang",
    requirements: "scripts/xtask/libclang.txt",
    library: "clang/native/libclang.so",
    variable: "LIBCLANG_PATH",
    megabytes: 25,
};
