//! The project's automation: `cargo xtask ci`, `sim`, `matrix`, `fuzz`, `bench`, `lab`, `kernels`,
//! `bindings`, `bless`.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "tells people what it does")]

use std::env;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, bail, ensure};

mod bindings;
mod ci;
mod kernels;
mod lab;
mod wheel;

const USAGE: &str = "\
usage: cargo xtask COMMAND

  ci                    everything that CI checks, in its order; stops at the first failure
  sim [--seeds N]       rehearse rounds and whole jobs over N seeds [default: 200]
  matrix [--one-in N]   collectives over types, operations, ranks, lengths, ...: one case in N [default: 50, about
                        half an hour; 1 takes a day]
  fuzz --seconds N [--seed S]
                        mutate the corpus of tests/fuzz for N seconds a target [default seed: 1]
  bench engine [--json] measure a training step; see benches/README.md
  bench train ...       train the same model by hcrun and by PyTorch DDP, in turns
  gpu ...               check kernels, NCCL and a run of examples/gpt on GPUs against the CPU, and measure them; see
                        docs/gpu.md
  lab                   hosts on emulated links, as root; see `cargo xtask lab --help` and benches/README.md
  kernels [--bless | --or-skip]
                        compile all for all architectures, without a GPU, into target/kernels, and compare registers,
                        spills and shared memory with kernels/cuda/resources.txt; --bless: write that;
                        --or-skip: succeed without the compiler, if it cannot be had
  kernels generate [--check]
                        launchers, emulator entries and docs from kernels/cuda/kernels.toml; --check: are they fresh?
  bindings [--check]    bindings of NCCL from kernels/nccl/nccl.h; --check: are they fresh? Skipped, and said to be,
                        where bindgen or libclang cannot be had
  bless                 write golden files and generated pages anew; read the difference before you commit";

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    match dispatch(&words) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(words: &[String]) -> anyhow::Result<ExitCode> {
    // Runs what it is given where it was called, and ends as that ends.
    if let Some(("lab", rest)) = words.split_first().map(|(first, rest)| (first.as_str(), rest)) {
        return lab::run(rest);
    }
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    if let ["gpu", rest @ ..] = &words[..] {
        return gpu(rest);
    }
    command(&words).map(|()| ExitCode::SUCCESS)
}

fn command(words: &[&str]) -> anyhow::Result<()> {
    env::set_current_dir(root()).context("the repository's root")?;
    match words {
        ["ci"] => ci::run_all(),
        ["sim"] => sim("200"),
        ["sim", "--seeds", seeds] => sim(seeds),
        ["matrix"] => matrix("50"),
        ["matrix", "--one-in", count] => matrix(count),
        ["fuzz", "--seconds", seconds] => fuzz(seconds, "1"),
        ["fuzz", "--seconds", seconds, "--seed", seed] => fuzz(seconds, seed),
        ["bench", rest @ ..] => cargo(&["run", "--release", "--quiet", "-p", "hcrun-benches", "--"], rest),
        ["kernels", rest @ ..] => kernels::run(rest),
        ["bindings", rest @ ..] => bindings::run(rest),
        // The tests of these files write what they expect, then pass.
        ["bless"] => with_env("HCRUN_BLESS", "1", &["test", "-p", "hcrun", "--lib"]),
        ["help" | "--help" | "-h"] => {
            println!("{USAGE}");
            Ok(())
        }
        [] => bail!("which command?\n\n{USAGE}"),
        _ => bail!("`cargo xtask {}` is not known\n\n{USAGE}", words.join(" ")),
    }
}

fn sim(seeds: &str) -> anyhow::Result<()> {
    let count: u64 = seeds.parse().with_context(|| format!("--seeds {seeds}"))?;
    ensure!(count > 0, "--seeds must be at least 1");
    with_env("HCRUN_SIM_SEEDS", seeds, &["test", "--release", "-p", "hcrun-sim"])
}

/// With the cubins of `cargo xtask kernels`, if there are some and no others are named. Ends as the bench does.
fn gpu(rest: &[&str]) -> anyhow::Result<ExitCode> {
    env::set_current_dir(root()).context("the repository's root")?;
    run(Command::new(cargo_path()).args(["build", "--release", "--quiet", "-p", "hcrun-benches"]))?;
    let program = target_folder().join("release/hcrun-benches");
    let mut bench = Command::new(&program);
    bench.arg("gpu").args(rest);
    let folder = kernels::cubins_folder();
    if folder.is_dir() && !rest.contains(&"--kernels") {
        bench.arg("--kernels").arg(folder);
    }
    let status = bench.status().with_context(|| format!("cannot start {}", program.display()))?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
}

fn matrix(one_in: &str) -> anyhow::Result<()> {
    let count: u64 = one_in.parse().with_context(|| format!("--one-in {one_in}"))?;
    ensure!(count > 0, "--one-in must be at least 1");
    let test = ["test", "--release", "-p", "hcrun-tests", "--test", "collectives", "--", "--nocapture"];
    with_env("HCRUN_MATRIX", one_in, &test)
}

fn fuzz(seconds: &str, seed: &str) -> anyhow::Result<()> {
    for (name, text) in [("seconds", seconds), ("seed", seed)] {
        text.parse::<u64>().with_context(|| format!("--{name} {text}"))?;
    }
    let mut cargo = Command::new(cargo_path());
    cargo.env("HCRUN_FUZZ_SECONDS", seconds).env("HCRUN_FUZZ_SEED", seed);
    // With debug assertions: they are what most inputs would break.
    run(cargo.args(["test", "-p", "hcrun-tests", "--test", "fuzz", "--", "--nocapture"]))
}

fn cargo(arguments: &[&str], rest: &[&str]) -> anyhow::Result<()> {
    run(Command::new(cargo_path()).args(arguments).args(rest))
}

fn with_env(name: &str, value: &str, arguments: &[&str]) -> anyhow::Result<()> {
    run(Command::new(cargo_path()).env(name, value).args(arguments))
}

/// The cargo that runs this, so that a toolchain chosen for it holds for what it starts.
fn cargo_path() -> String {
    env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned())
}

/// Runs cargo with this process's input and output.
fn run(command: &mut Command) -> anyhow::Result<()> {
    let status = command.status().with_context(|| format!("cannot start {}", words(command)))?;
    ensure!(status.success(), "`{}` failed: {status}", words(command));
    Ok(())
}

fn words(command: &Command) -> String {
    let arguments = command.get_args().map(|argument| argument.to_string_lossy());
    std::iter::once("cargo".into()).chain(arguments).collect::<Vec<_>>().join(" ")
}

fn root() -> &'static Path {
    // `scripts/xtask` lies two below it.
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap_or(Path::new("."))
}

/// Absolute, since this runs at the repository's root.
fn target_folder() -> std::path::PathBuf {
    root().join(env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into()))
}
