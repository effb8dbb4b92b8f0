//! The `hcrun` command: job files, plans, runs and reports.
//!
//! `cli` says what can be asked, `commands` holds one file per verb, and every refusal is a [`Failure`] with
//! a stable code (`codes`) and a documented exit code. Only data goes to stdout.

pub mod cli;
pub mod cluster_file;
pub mod codes;
pub mod commands;
mod compress;
pub mod control_socket;
mod driver;
pub mod failure;
mod interrupts;
pub mod job_file;
mod lab;
mod libraries;
pub mod manifests;
mod measured;
pub mod output;
pub mod prepare;
mod probe;
mod queue;
pub mod report;
mod run;
pub mod run_dir;
mod scale;
pub mod settings;

use std::process::ExitCode;

use clap::Parser;

pub use failure::Failure;
pub use output::Output;

/// Parses the command line, runs the verb and turns its result into an exit code.
pub fn main() -> ExitCode {
    let command_line = match cli::CommandLine::try_parse() {
        Ok(command_line) => command_line,
        Err(refused) => return output::usage(&refused),
    };
    let output = Output::new(&command_line.global);
    let code = match commands::dispatch(command_line, &output) {
        Ok(code) => code,
        Err(failure) => output.failure(&failure),
    };
    output::unwritten().unwrap_or(code)
}
