//! `hcrun completions`: a script for the user's shell.

use clap::CommandFactory;

use crate::cli::{CommandLine, CompletionsArgs};
use crate::failure::Result;
use crate::output::Output;

pub(crate) fn completions(args: &CompletionsArgs, output: &Output) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut CommandLine::command(), "hcrun", &mut script);
    output.line(String::from_utf8_lossy(&script).trim_end());
    Ok(())
}
