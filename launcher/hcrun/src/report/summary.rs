//! `summary.json`: what is left of a run, for people and scripts.

use hcrun_protocol::cluster::Trust;
use hcrun_protocol::plan::Traffic;
use hcrun_protocol::{NodeId, Rank, ShardId, ZoneId};
use serde::{Deserialize, Serialize};

use crate::failure::Failure;

/// Version of the JSON form. Additions keep it.
pub const SUMMARY_SCHEMA: u32 = 1;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    Running,
    Done,
    /// Gracefully, with a checkpoint.
    Stopped,
    Failed,
    /// The launcher went away without a word.
    Interrupted,
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Status::Running => "running",
            Status::Done => "done",
            Status::Stopped => "stopped",
            Status::Failed => "failed",
            Status::Interrupted => "interrupted",
        })
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    pub schema: u32,
    pub job: String,
    pub status: Status,
    pub exit_code: u8,
    /// Updates applied.
    pub steps: u64,
    pub loss_first: Option<f64>,
    pub loss_last: Option<f64>,
    /// The last evaluation on held-out data.
    pub eval: Option<Evaluation>,
    pub workers: Vec<WorkerSummary>,
    pub samples_per_s: Option<f64>,
    pub step_time_s: Option<StepTime>,
    /// Part of the step time blocked on the exchange, between 0 and 1.
    pub exchange_s_share: Option<f64>,
    pub egress_bytes: Traffic,
    pub planned_egress_bytes: Traffic,
    pub parameter_digest: Option<String>,
    pub generations: u32,
    pub restarts: u32,
    pub cost_usd: Cost,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<FailureSummary>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    #[serde(deserialize_with = "super::metrics::number_or_nan")]
    pub loss: f64,
    pub unit: String,
    pub samples: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accuracy: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rmse: Option<f64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WorkerSummary {
    /// `private-0`.
    pub slot: String,
    pub rank: Rank,
    pub zone: ZoneId,
    pub trust: Trust,
    pub node: Option<NodeId>,
    /// The pool's: `cpu`, or what GPU it computes on. Empty in summaries of before.
    #[serde(default)]
    pub device: String,
    pub shards: Vec<ShardId>,
    /// Trained on, over all steps.
    pub samples: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct StepTime {
    pub p50: f64,
    pub p99: f64,
}

impl StepTime {
    /// Of at least one time.
    pub fn of(mut times: Vec<f64>) -> Option<StepTime> {
        times.sort_by(f64::total_cmp);
        let last = times.len().checked_sub(1)?;
        Some(StepTime { p50: times[last / 2], p99: times[last * 99 / 100] })
    }
}

/// Null where no prices are known.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Cost {
    pub predicted: Option<f64>,
    pub actual: Option<f64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FailureSummary {
    pub code: String,
    pub message: String,
    pub place: Option<String>,
    pub causes: Vec<String>,
    pub hint: String,
}

impl From<&Failure> for FailureSummary {
    fn from(failure: &Failure) -> FailureSummary {
        FailureSummary {
            code: failure.code.id.to_owned(),
            message: failure.what.clone(),
            place: failure.place.clone(),
            causes: failure.causes.clone(),
            hint: failure.hint_text().to_owned(),
        }
    }
}
