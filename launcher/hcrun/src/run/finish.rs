//! The end of a run: summary, report, the last words and the exit code.

use std::process::ExitCode;

use hcrun_protocol::Step;
use hcrun_protocol::plan::{Traffic, add_traffic};

use super::record::Recorder;
use crate::failure::{Failure, Result};
use crate::output::Output;
use crate::prepare::Prepared;
use crate::report::format;
use crate::report::summary::{Cost, Evaluation, FailureSummary, SUMMARY_SCHEMA, StepTime, WorkerSummary};
use crate::report::{Status, Summary};
use crate::run_dir::{RunDir, files};

pub(super) fn finish(
    prepared: &Prepared,
    dir: &RunDir,
    recorder: &Recorder<'_>,
    resumed_from: Option<Step>,
    status: Status,
    failure: Option<Failure>,
) -> Result<Summary> {
    let summary = summary(prepared, recorder, resumed_from, status, failure.as_ref());
    let written = dir.write(files::SUMMARY, crate::output::to_json(&summary).as_bytes());
    let written = written.and_then(|()| crate::report::write(dir));
    if let Some(failure) = failure {
        // The first cause; a disk that is full may be its consequence.
        return Err(failure);
    }
    written?;
    Ok(summary)
}

/// The last words of a run that succeeded.
pub(super) fn answer(summary: &Summary, dir: &RunDir, output: &Output) -> ExitCode {
    output.answer(summary, || words(summary, dir));
    ExitCode::SUCCESS
}

fn summary(
    prepared: &Prepared,
    recorder: &Recorder<'_>,
    resumed_from: Option<Step>,
    status: Status,
    failure: Option<&Failure>,
) -> Summary {
    let (plan, tally) = (&prepared.plan, &recorder.tally);
    let worker = |worker: &hcrun_protocol::placement::PlacedWorker| WorkerSummary {
        slot: worker.slot.to_string(),
        rank: worker.rank,
        zone: worker.zone.clone(),
        trust: worker.trust,
        node: tally.nodes.get(&worker.slot).cloned(),
        device: prepared.cluster.pool(&worker.slot.pool).map_or_else(String::new, |pool| pool.device.clone()),
        shards: worker.shards.clone(),
        samples: tally.samples_by_slot.get(&worker.slot).copied().unwrap_or(0),
    };
    let hours = recorder.seconds() / 3_600.0;
    Summary {
        schema: SUMMARY_SCHEMA,
        job: plan.job.clone(),
        status,
        exit_code: failure.map_or(0, Failure::exit_code),
        steps: resumed_from.map_or(0, |step| step.0) + tally.steps,
        loss_first: tally.loss_first,
        loss_last: tally.loss_last,
        eval: tally.evaluation.as_ref().map(|row| Evaluation {
            loss: row.loss,
            unit: row.unit.clone(),
            samples: row.samples,
            accuracy: row.accuracy,
            rmse: row.rmse,
        }),
        workers: plan.placement.workers.iter().map(worker).collect(),
        samples_per_s: tally.pace.samples_per_s(),
        step_time_s: StepTime::of(tally.step_times.clone()),
        exchange_s_share: (tally.steps_s > 0.0).then(|| tally.exchange_s / tally.steps_s),
        egress_bytes: recorder.ledger(),
        planned_egress_bytes: planned(prepared, recorder),
        parameter_digest: tally.parameter_digest.map(|digest| format!("{digest:016x}")),
        generations: 1,
        restarts: 0,
        cost_usd: Cost {
            predicted: plan.cost_usd,
            actual: plan.price.as_ref().map(|price| price.usd_per_hour * hours),
        },
        failure: failure.map(FailureSummary::from),
    }
}

/// The plan's formula for what was really done: committed steps, evaluations, statistics.
fn planned(prepared: &Prepared, recorder: &Recorder<'_>) -> Traffic {
    let (plan, tally) = (&prepared.plan, &recorder.tally);
    let mut total = Traffic::new();
    add_traffic(&mut total, &plan.bytes_per_step, tally.steps);
    add_traffic(&mut total, &plan.bytes_per_evaluation, tally.evaluations_sent);
    add_traffic(&mut total, &plan.statistics_bytes, u64::from(tally.statistics_gathered));
    add_traffic(&mut total, &plan.checkpoint_bytes, tally.checkpoints);
    add_traffic(&mut total, &plan.resume_bytes, u64::from(tally.resumed));
    total
}

fn words(summary: &Summary, dir: &RunDir) -> String {
    let mut lines =
        vec![format!("{} {} after {} steps", summary.job, summary.status, format::count(summary.steps))];
    if let (Some(first), Some(last)) = (summary.loss_first, summary.loss_last) {
        lines.push(format!("  training loss  {first:.4} -> {last:.4}"));
    }
    if let Some(eval) = &summary.eval {
        let more = match (eval.accuracy, eval.rmse) {
            (_, Some(rmse)) => format!(", RMSE {rmse:.4}"),
            (Some(accuracy), None) => format!(", accuracy {}", format::percent(accuracy)),
            (None, None) => String::new(),
        };
        let samples = format::count(eval.samples);
        lines.push(format!("  held-out       {:.4} {}{more} ({samples} samples)", eval.loss, eval.unit));
    }
    if let (Some(rate), Some(share)) = (summary.samples_per_s, summary.exchange_s_share) {
        lines.push(format!(
            "  speed          {rate:.0} samples/s, {} of the time in exchange",
            format::percent(share)
        ));
    }
    for (border, classes) in &summary.egress_bytes {
        let planned = summary.planned_egress_bytes.get(border) == Some(classes);
        let verdict = if planned { "as planned, to the byte" } else { "NOT as planned" };
        let total: u64 = classes.values().sum();
        lines.push(format!("  {border:<14} {} bytes, {verdict}", format::count(total)));
    }
    lines.push(format!("  report         {}", dir.file(files::REPORT).display()));
    lines.join("\n")
}
