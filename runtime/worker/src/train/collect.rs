//! Rounds from the training thread's side: submit what is ready, wait for what is needed.
//!
//! Where ranks of a node sum among themselves, a round over links begins with what this rank holds of their sums, and what
//! comes out of it is handed out among them.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};

use hcrun_kernels::any_buffers::AnyBuffers;
use hcrun_kernels::host_buffers::HostBuffers;
use hcrun_kernels::nccl::Owned;
use hcrun_net::group::{Group, RoundClasses, RoundHandle, RoundSpec};
use hcrun_protocol::control::Activity;
use hcrun_protocol::exchange::PlannedRound;
use hcrun_protocol::round::RoundId;
use hcrun_protocol::schedule::{Collective, Coverage};
use hcrun_protocol::{Generation, Rank, Span, Step};

use super::TrainFailure;
use crate::node::{NodeError, NodeGroup};
use crate::progress::Progress;

pub(super) struct Collect<'a> {
    pub(super) group: &'a Arc<Group<AnyBuffers>>,
    pub(super) node: Option<&'a NodeGroup>,
    pub(super) generation: Generation,
    pub(super) me: Rank,
    pub(super) progress: &'a Progress,
}

/// A round that is on its way.
pub(super) struct Pending {
    stage: Stage,
    /// What the ranks of the node hold of the result, if it is handed out among them.
    hand_out: Option<Owned>,
}

enum Stage {
    /// On the node, before the round.
    Summing(Receiver<Result<RoundHandle<AnyBuffers>, NodeError>>),
    Round(RoundHandle<AnyBuffers>),
}

/// Liveness is judged by heartbeats and links; this only bounds a wait that both of them miss.
const ROUND_DEADLINE: Span = Span::from_secs(600);

impl Collect<'_> {
    pub(super) fn submit(&self, round: &PlannedRound, step: Step, own: impl Into<AnyBuffers>) -> Pending {
        let program =
            round.schedule.program(self.me).expect("every rank has a program: ExchangePlan").clone();
        let id = RoundId { generation: self.generation, attempt: 0, step, tag: round.tag };
        let classes = RoundClasses {
            partial: round.class(Coverage::Partial),
            complete: round.class(Coverage::Complete),
        };
        let spec = move |buffers| RoundSpec { id, classes, program, buffers, deadline: ROUND_DEADLINE };
        let own = own.into();
        let collective = round.schedule.collective();
        let held = round.schedule.node_group(self.me).map(|node| node.held.clone());
        let hand_out = held.clone().filter(|_| collective != Collective::ReduceScatter);
        let stage = match (self.node, held) {
            (Some(node), Some(held)) if collective != Collective::Gather => {
                let (sender, started) = channel();
                match own.into_device() {
                    Some(own) => {
                        let group = Arc::clone(self.group);
                        node.sum(own, held, move |summed| {
                            let started = summed.map(|own| group.submit(spec(own.into())));
                            // Who waits may have left, and takes the round with it.
                            drop(sender.send(started));
                        });
                    }
                    None => drop(sender.send(Err(NodeError::HostMemory))),
                }
                Stage::Summing(started)
            }
            _ => Stage::Round(self.group.submit(spec(own))),
        };
        Pending { stage, hand_out }
    }

    /// Waits for the round's end.
    pub(super) fn finish(&self, pending: Pending) -> Result<AnyBuffers, TrainFailure> {
        self.progress.enter(Activity::Waiting);
        let round = match pending.stage {
            Stage::Summing(started) => started.recv().unwrap_or(Err(NodeError::Gone))?,
            Stage::Round(round) => round,
        };
        let result = round.wait()?;
        let (Some(node), Some(held)) = (self.node, pending.hand_out) else { return Ok(result) };
        let result = result.into_device().ok_or(NodeError::HostMemory)?;
        Ok(node.hand_out(result, held)?.into())
    }

    /// Waits for sums of scalars.
    pub(super) fn sums(&self, pending: Pending) -> Result<Vec<f64>, TrainFailure> {
        let buffers = self.finish(pending)?.into_host().and_then(HostBuffers::into_vec);
        Ok(buffers.expect("what was submitted"))
    }
}
