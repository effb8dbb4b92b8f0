//! What CI checks, in the order in which it is cheapest to fail.

use std::fs;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, ensure};

use crate::{bindings, cargo_path, kernels, run};

/// The README's two commands: what it promises is what is checked.
const TEST: &str = "cargo test --workspace";
const MAIN: &str = "cargo run --release -- run examples/gpt/job.toml";

pub(crate) fn run_all() -> anyhow::Result<()> {
    let start = Instant::now();
    step("cargo fmt --all --check", None)?;
    step("cargo xtask kernels generate --check", None)?;
    step("cargo clippy --locked --workspace --all-targets -- -D warnings", None)?;
    step("cargo doc --locked --workspace --no-deps", Some(("RUSTDOCFLAGS", "-D warnings")))?;
    say("$ cargo xtask kernels");
    kernels::run(&[])?;
    say("$ cargo xtask bindings --check");
    bindings::run(&["--check"])?;
    let readme = fs::read_to_string("README.md").context("README.md")?;
    for command in [TEST, MAIN] {
        ensure!(readme.lines().any(|line| line.trim() == command), "README.md has no line `{command}`");
    }
    step(TEST, None)?;
    step(MAIN, None)?;
    say(&format!("ci passed in {} s", start.elapsed().as_secs()));
    Ok(())
}

/// One command line that begins with `cargo` and quotes nothing.
fn step(line: &str, env: Option<(&str, &str)>) -> anyhow::Result<()> {
    say(&format!("$ {line}"));
    let start = Instant::now();
    let mut command = Command::new(cargo_path());
    command.args(line.split(' ').skip(1)).envs(env);
    run(&mut command)?;
    say(&format!("passed in {} s", start.elapsed().as_secs()));
    Ok(())
}

fn say(text: &str) {
    println!("ci: {text}");
}
