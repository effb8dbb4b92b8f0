//! One file per verb.

mod cancel;
mod choose;
mod compare;
mod completions;
mod compress;
mod doctor;
mod explain;
mod init;
mod keep;
mod logs;
mod plan;
mod predict;
mod prices;
mod probe;
mod ps;
mod record;
mod report;
mod resume;
mod run;
mod scale;
mod shard;
mod simulate;
mod status;
mod stop;
mod submit;
mod trained;
mod up;
mod why;
mod worker;

use std::process::ExitCode;

use crate::cli::{CommandLine, PricesVerb, ShardVerb, Verb};
use crate::failure::Result;
use crate::output::Output;

/// Runs the verb. One that ended a run, or has part of its results, answers with an exit code of its own.
pub fn dispatch(command_line: CommandLine, output: &Output) -> Result<ExitCode> {
    let global = command_line.global;
    match command_line.verb {
        Verb::Run(args) => return run::run(&args, &global, output),
        Verb::Scale(args) => return scale::scale(&args, &global, output),
        Verb::Simulate(args) => return simulate::simulate(&args, output),
        Verb::Compare(args) => return compare::compare(&args, output),
        Verb::Resume(args) => return resume::resume(&args, &global, output),
        Verb::Predict(args) => predict::predict(&args, &global, output),
        Verb::Compress(args) => compress::compress(&args, &global, output),
        Verb::Worker(args) => return worker::worker(&args, &global, output),
        Verb::Keep(args) => keep::keep(&args),
        Verb::ProbeGpu => probe::probe_gpu(output),
        Verb::ProbeNccl => probe::probe_nccl(output),
        Verb::ProbeCublasLt => probe::probe_cublaslt(output),
        Verb::Plan(args) => plan::plan(&args, &global, output),
        Verb::Shard(ShardVerb::Index(args)) => shard::index(&args, output),
        Verb::Prices(PricesVerb::Check(args)) => prices::check(&args, output),
        Verb::Prices(PricesVerb::Choose(args)) => choose::choose(&args, output),
        Verb::Up(args) => return up::up(&args, output),
        Verb::Submit(args) => submit::submit(&args, output),
        Verb::Ps(args) => ps::ps(&args, output),
        Verb::Cancel(args) => cancel::cancel(&args, output),
        Verb::Record(args) => record::record(&args, output),
        Verb::Why(args) => why::why(&args, output),
        Verb::Explain(args) => explain::explain(&args, output),
        Verb::Completions(args) => completions::completions(&args, output),
        Verb::Init(args) => init::init(&args, output),
        Verb::Doctor(args) => doctor::doctor(&args, &global, output),
        Verb::Status(args) => status::status(&args, &global, output),
        Verb::Logs(args) => logs::logs(&args, &global, output),
        Verb::Stop(args) => stop::stop(&args, &global, output),
        Verb::Report(args) => report::report(&args, &global, output),
    }
    .map(|()| ExitCode::SUCCESS)
}
