//! From how the coordinator ended to what the command says and returns.

use hcrun_protocol::NodeId;
use hcrun_protocol::coordinator::{Failure as JobFailure, FailureKind, Outcome};

use super::stop::Signal;
use crate::codes::{self, Code};
use crate::failure::Failure;
use crate::report::Status;
use crate::run_dir::RunDir;

/// Status for the summary and, where the run was not done, why. `loss`: of the last step. `here`: the node of workers that ended
/// before they could say theirs, where the launcher started them.
pub(super) fn conclude(
    outcome: &Outcome,
    signal: Option<Signal>,
    dir: &RunDir,
    here: Option<&str>,
    loss: Option<f64>,
) -> (Status, Option<Failure>) {
    match outcome {
        Outcome::Done { .. } if loss.is_some_and(|loss| !loss.is_finite()) => {
            let failure = Failure::new(&codes::LOSS_NOT_FINITE, "the training ended without a finite loss");
            (Status::Failed, Some(failure.at(dir.path.display().to_string())))
        }
        Outcome::Done { .. } => (Status::Done, None),
        Outcome::Stopped { steps } => (Status::Stopped, stopped(*steps, signal, dir)),
        Outcome::Killed => {
            let code = signal_code(signal);
            let failure = Failure::new(code, "the run was ended at once, without a new checkpoint");
            (Status::Stopped, Some(failure.at(dir.path.display().to_string()).hint(resume_hint(dir))))
        }
        Outcome::Failed(failure) => (Status::Failed, Some(failed(failure, dir, here))),
    }
}

fn signal_code(signal: Option<Signal>) -> &'static Code {
    match signal {
        Some(Signal::Terminate) => &codes::TERMINATED,
        Some(Signal::Interrupt) | None => &codes::INTERRUPTED,
    }
}

/// `hcrun stop` is what the user wanted: success. A signal ends the command as signals do.
fn stopped(steps: u64, signal: Option<Signal>, dir: &RunDir) -> Option<Failure> {
    signal.map(|signal| {
        let what = match steps {
            0 => "stopped before the first step".to_owned(),
            steps => format!("stopped after {steps} steps; the checkpoint is complete"),
        };
        Failure::new(signal_code(Some(signal)), what)
            .at(dir.path.display().to_string())
            .hint(resume_hint(dir))
    })
}

fn resume_hint(dir: &RunDir) -> String {
    format!("go on with `hcrun resume {}`", dir.path.display())
}

fn failed(failure: &JobFailure, dir: &RunDir, here: Option<&str>) -> Failure {
    let node = failure.node.as_ref().map(NodeId::as_str).or(here);
    let who = match (&failure.slot, node, &failure.zone) {
        (Some(slot), Some(node), Some(zone)) => format!("worker {slot} on node {node} in zone {zone}"),
        (Some(slot), None, Some(zone)) => format!("worker {slot} in zone {zone}"),
        _ if failure.kind == FailureKind::NotFinite => "all workers".to_owned(),
        _ => "the launcher".to_owned(),
    };
    let (code, what) = describe(failure, here.is_some());
    let mut told =
        Failure::new(code, format!("{what}: the job has stopped")).at(who).because(failure.text.clone());
    if let Some(step) = failure.committed {
        told = told.because(format!("the last committed step is step {}", step.next()));
    }
    let kept = match failure.stored {
        Some(step) => format!("the last checkpoint of this run holds {} steps", step.next()),
        None => "this run has stored no checkpoint".to_owned(),
    };
    let hint = match (failure.kind, failure.stored) {
        (
            FailureKind::Exited | FailureKind::Silent | FailureKind::Stalled | FailureKind::Disconnected,
            Some(_),
        ) => {
            format!("{kept}; {}", resume_hint(dir))
        }
        _ => format!("{}; {kept}; logs are in {}", code.remedy, dir.file("logs").display()),
    };
    told.hint(hint)
}

/// `started`: the launcher has started its workers itself, nobody else has to.
fn describe(failure: &JobFailure, started: bool) -> (&'static Code, &'static str) {
    match failure.kind {
        FailureKind::Build => (&codes::VERSION_DIFFERS, "a worker is another program than this launcher"),
        FailureKind::Policy => (&codes::ASSIGNMENT_REFUSED, "a worker refused its assignment"),
        FailureKind::Data => (&codes::SHARD_CHANGED, "a worker cannot use its data"),
        FailureKind::NotFinite => (&codes::LOSS_NOT_FINITE, "the training has come to nothing"),
        FailureKind::Training => (&codes::TRAINING_FAILED, "the training failed"),
        FailureKind::Divergence => (&codes::PARAMETERS_DIFFER, "workers hold different parameters"),
        FailureKind::Internal | FailureKind::Protocol => (&codes::INTERNAL, "a worker misbehaved"),
        FailureKind::Exited => (&codes::WORKER_DIED, "a worker died"),
        FailureKind::StoodStill => (&codes::COORDINATOR_LOST, "the launcher did not run"),
        FailureKind::Storage => (&codes::DISK_FULL, "a checkpoint could not be stored"),
        FailureKind::Silent => (&codes::WORKER_DIED, "a worker fell silent"),
        FailureKind::Stalled => (&codes::WORKER_STALLED, "a worker stalled"),
        FailureKind::Disconnected | FailureKind::BlamedByPeer => (&codes::LINK_LOST, "a worker was lost"),
        FailureKind::NotJoined if started => (&codes::WORKER_STALLED, "a worker did not start"),
        FailureKind::NotJoined => (&codes::JOIN_DEADLINE, "a worker did not join"),
        FailureKind::Overdue => (&codes::JOIN_DEADLINE, "a worker was not ready in time"),
        FailureKind::Device => (&codes::GPU_FAILED, "a worker cannot use its GPU"),
        FailureKind::Address => (&codes::PORT_IN_USE, "a worker cannot listen"),
        FailureKind::Preflight => (&codes::LINK_FAILED, "workers cannot reach each other"),
    }
}
