//! `hcrun report`: draws a run again from its files.

use crate::cli::{Global, RunName};
use crate::failure::Result;
use crate::output::Output;
use crate::report;
use crate::run_dir::RunDir;

pub(crate) fn report(args: &RunName, global: &Global, output: &Output) -> Result<()> {
    let run = RunDir::open(&global.runs_dir, &args.run)?;
    let path = report::write(&run)?;
    output.answer(&serde_json::json!({ "run": run.name(), "report": path }), || path.display().to_string());
    Ok(())
}
