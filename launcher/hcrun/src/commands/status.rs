//! `hcrun status`: a live run answers itself, an ended one by its summary, a dead one is interrupted.

use serde::Serialize;

use crate::cli::{Global, RunName};
use crate::control_socket::{self, LiveStatus, Request};
use crate::failure::Result;
use crate::output::Output;
use crate::report::format::{count, percent};
use crate::report::{self, Status, Summary};
use crate::run_dir::RunDir;

#[derive(Serialize)]
struct Answer {
    run: String,
    state: Status,
    /// Of a live run that answers.
    live: Option<LiveStatus>,
    /// Of a run that ended.
    summary: Option<Summary>,
    last_step: Option<u64>,
}

pub(crate) fn status(args: &RunName, global: &Global, output: &Output) -> Result<()> {
    let run = RunDir::open(&global.runs_dir, &args.run)?;
    let answer = look(&run);
    output.answer(&answer, || to_text(&answer));
    Ok(())
}

fn look(run: &RunDir) -> Answer {
    if run.is_live() {
        let live = control_socket::ask(run, Request::Status).ok();
        return Answer { run: run.name(), state: Status::Running, live, summary: None, last_step: None };
    }
    let summary = report::read_summary(run);
    // A summary that says "running" was left by a launcher that did not live to write the last one.
    let state = match summary.as_ref().map(|summary| summary.status) {
        None | Some(Status::Running) => Status::Interrupted,
        Some(status) => status,
    };
    let last_step = report::read_metrics(run).0.last().map(|row| row.step);
    Answer { run: run.name(), state, live: None, summary, last_step }
}

fn to_text(answer: &Answer) -> String {
    let mut lines = vec![format!("run:   {}", answer.run), format!("state: {}", answer.state)];
    if let Some(live) = &answer.live {
        lines.push(format!("step:  {} of {} ({})", count(live.step), count(live.steps), live.state));
        lines.extend(live.loss.map(|loss| format!("loss:  {loss:.4}")));
        lines.extend(live.workers.iter().map(|worker| format!("  {}  {}", worker.slot, worker.state)));
    }
    match &answer.summary {
        Some(summary) => {
            lines.push(format!("steps: {}", count(summary.steps)));
            lines.extend(summary.loss_last.map(|loss| format!("loss:  {loss:.4}")));
            if let Some(eval) = &summary.eval {
                lines.push(format!(
                    "eval:  {:.4} {} over {} samples",
                    eval.loss,
                    eval.unit,
                    count(eval.samples)
                ));
                lines.extend(eval.accuracy.map(|accuracy| format!("accuracy: {}", percent(accuracy))));
                lines.extend(eval.rmse.map(|rmse| format!("RMSE:  {rmse:.4}")));
            }
            if let Some(failure) = &summary.failure {
                lines.push(format!("error: {} ({})", failure.message, failure.code));
                lines.extend(failure.causes.iter().map(|cause| format!("  caused by: {cause}")));
                lines.push(format!("hint:  {}", failure.hint));
            }
        }
        None => lines.extend(answer.last_step.map(|step| format!("steps: {}", count(step)))),
    }
    if matches!(answer.state, Status::Interrupted | Status::Stopped | Status::Failed) {
        lines.push(format!("go on with `hcrun resume {}`", answer.run));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run_dir::files;

    #[test]
    fn a_dead_run_reads_interrupted() {
        let runs = tempfile::tempdir().unwrap();
        let run = RunDir::create(runs.path(), "demo", 1).unwrap();
        std::fs::write(run.file(files::JOB), "x").unwrap();
        assert_eq!(look(&run).state, Status::Running);
        let dir = run.dir.clone();
        drop(run);
        assert_eq!(look(&dir).state, Status::Interrupted);
    }
}
