//! `hcrun stop`: asks a live run to end with a checkpoint and waits until it has.

use std::time::{Duration, Instant};

use crate::cli::{Global, RunName};
use crate::codes;
use crate::control_socket::{self, Request};
use crate::failure::{Failure, Result};
use crate::output::Output;
use crate::report::{self, Status};
use crate::run_dir::RunDir;

/// A step and a checkpoint of a large model take a while.
const STOP_LIMIT: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(50);

pub(crate) fn stop(args: &RunName, global: &Global, output: &Output) -> Result<()> {
    let run = RunDir::open(&global.runs_dir, &args.run)?;
    let place = run.path.display().to_string();
    if !run.is_live() {
        return Err(
            Failure::new(&codes::RUN_NOT_LIVE, format!("run `{}` is not running", run.name())).at(place)
        );
    }
    control_socket::ask(&run, Request::Stop).map_err(|error| {
        Failure::new(&codes::RUN_NOT_LIVE, format!("run `{}` does not answer", run.name()))
            .at(place.clone())
            .caused_by(&error)
    })?;
    output.note("asked to stop; waiting for its checkpoint");
    let since = Instant::now();
    while run.is_live() {
        if since.elapsed() > STOP_LIMIT {
            let what = format!("run `{}` is still running after {} s", run.name(), STOP_LIMIT.as_secs());
            return Err(Failure::new(&codes::STOP_DEADLINE, what).at(place));
        }
        std::thread::sleep(POLL);
    }
    let status = report::read_summary(&run).map_or(Status::Interrupted, |summary| summary.status);
    output.answer(&serde_json::json!({ "run": run.name(), "state": status }), || {
        format!("{}: {status}", run.name())
    });
    Ok(())
}
