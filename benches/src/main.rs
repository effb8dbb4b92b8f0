//! Measurements of hcrun, with what is needed to compare them later: date, machine, versions.
//!
//! `cargo xtask bench NAME ...`; each bench is a module that reads its own arguments. Results worth keeping
//! lie in `benches/results`.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "prints measurements and how far they are")]

use std::path::Path;
use std::process::ExitCode;

use anyhow::bail;
use hcrun_kernels::cuda::Unavailable;

mod arguments;
mod collectives;
mod engine;
mod gpu;
mod link;
mod machine;
mod processes;
mod products;
mod talker;
mod train;

use arguments::Words;

/// Name, usage, entry.
type Bench = (&'static str, &'static str, fn(Words) -> anyhow::Result<()>);

const BENCHES: &[Bench] = &[
    ("engine", engine::USAGE, engine::run),
    ("products", products::USAGE, products::run),
    ("collectives", collectives::USAGE, collectives::run),
    ("train", train::USAGE, train::run),
    ("gpu", gpu::USAGE, gpu::run),
];

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    // What `gpu` starts of itself: a run of jobs, and its workers, which are started from the same file.
    if words.first().is_some_and(|word| ["shard", "run", "worker"].contains(&word.as_str())) {
        return hcrun::main();
    }
    match bench(words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            if error.is::<Unavailable>() {
                ExitCode::from(NO_GPU)
            } else if error.is::<gpu::Incomplete>() {
                ExitCode::from(STOPPED)
            } else {
                ExitCode::FAILURE
            }
        }
    }
}

fn bench(mut words: Vec<String>) -> anyhow::Result<()> {
    if words.is_empty() {
        bail!("which bench?\n{}", usage());
    }
    let name = words.remove(0);
    // What `collectives` and `gpu` start of themselves.
    match name.as_str() {
        "rank" => return collectives::rank::run(),
        gpu::NCCL_RANKS => return gpu::nccl_ranks(),
        _ => {}
    }
    let Some((_, usage, run)) = BENCHES.iter().find(|(known, ..)| *known == name) else {
        bail!("there is no bench `{name}`\n{}", usage());
    };
    run(Words::new(words, usage))
}

fn usage() -> String {
    BENCHES.iter().map(|(_, usage, _)| *usage).collect::<Vec<_>>().join("\n")
}

/// The repository, of which this package is a folder.
fn root() -> &'static Path {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package)
}

/// The exit code of a deadline, and of what is not known for its sake.
const STOPPED: u8 = 3;
/// The exit code of what a machine lacks.
const NO_GPU: u8 = 4;
