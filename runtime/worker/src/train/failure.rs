//! How training can fail on one rank, and how that is told to the coordinator.

use hcrun_engine::trainer::TrainerError;
use hcrun_net::group::RoundError;
use hcrun_protocol::control::{FailureClass, FailureReport};
use hcrun_protocol::exchange::ExchangeError;
use hcrun_protocol::member::End;
use hcrun_protocol::{Step, ZoneId, error_chain};

use crate::node::NodeError;

#[derive(Debug, thiserror::Error)]
pub enum TrainFailure {
    #[error(transparent)]
    Ended(#[from] End),
    #[error(transparent)]
    Round(#[from] RoundError),
    #[error("cannot sum with the other GPUs of this node; `exchange.nccl = false` does without")]
    Node(#[from] NodeError),
    #[error(transparent)]
    Trainer(#[from] TrainerError),
    #[error("the statistics cannot be exchanged")]
    Exchange(#[from] ExchangeError),
    #[error("unexpected order {got} while training")]
    Order { got: String },
    #[error(
        "at step {step} only {contributors} workers of a zone hold samples: its sum may not leave the zone \
         below policy.min_contributors = {min}"
    )]
    FewContributors { step: Step, contributors: usize, min: usize },
    #[error(
        "{what} of zone `{zone}` are over {rows} rows: below policy.min_rows = {min_rows} they may not leave it"
    )]
    FewRows { what: &'static str, zone: ZoneId, rows: u64, min_rows: u64 },
}

impl TrainFailure {
    /// None where the coordinator knows already.
    pub(crate) fn report(&self) -> Option<FailureReport> {
        let report = |class, text: String| FailureReport { class, peer: None, step: None, text };
        Some(match self {
            TrainFailure::Ended(_) => return None,
            // Only a device's memory can fail.
            TrainFailure::Round(RoundError::Memory { .. }) => report(FailureClass::Device, error_chain(self)),
            TrainFailure::Round(error) => FailureReport {
                class: if error.peer().is_some() { FailureClass::Peer } else { FailureClass::Internal },
                peer: error.peer(),
                step: None,
                text: error_chain(error),
            },
            TrainFailure::FewContributors { .. } | TrainFailure::FewRows { .. } => {
                report(FailureClass::Policy, self.to_string())
            }
            TrainFailure::Trainer(TrainerError::State(_) | TrainerError::Parameters { .. }) => {
                report(FailureClass::Data, error_chain(self))
            }
            TrainFailure::Node(_) | TrainFailure::Trainer(TrainerError::Device(_)) => {
                report(FailureClass::Device, error_chain(self))
            }
            TrainFailure::Trainer(_) | TrainFailure::Exchange(_) | TrainFailure::Order { .. } => {
                report(FailureClass::Internal, error_chain(self))
            }
        })
    }
}
