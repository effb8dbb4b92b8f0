//! One file per verb.

mod completions;
mod explain;
mod plan;
mod run;
mod shard;
mod worker;

use std::process::ExitCode;

use crate::cli::{CommandLine, ShardVerb, Verb};
use crate::failure::{Failure, Result};
use crate::output::Output;

/// Runs the verb. A verb that ended a run answers with that run's exit code.
pub fn dispatch(command_line: CommandLine, output: &Output) -> Result<ExitCode> {
    let global = command_line.global;
    match command_line.verb {
        Verb::Run(args) => return run::run(&args, &global, output),
        Verb::Resume(args) => return run::resume(&args, &global, output),
        Verb::Predict(args) => run::predict(&args, &global, output),
        Verb::Worker(args) => return worker::worker(&args, &global, output),
        Verb::Plan(args) => plan::plan(&args, output),
        Verb::Shard(ShardVerb::Index(args)) => shard::index(&args, output),
        Verb::Explain(args) => explain::explain(&args, output),
        Verb::Completions(args) => completions::completions(&args, output),
        _ => Err(Failure::new(&crate::codes::INTERNAL, "this verb is not built yet")),
    }
    .map(|()| ExitCode::SUCCESS)
}
