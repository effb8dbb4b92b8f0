//! Rounds from the training thread's side: submit what is ready, wait for what is needed.

use hcrun_kernels::any_buffers::AnyBuffers;
use hcrun_kernels::host_buffers::HostBuffers;
use hcrun_net::group::{Group, RoundClasses, RoundHandle, RoundSpec};
use hcrun_protocol::control::Activity;
use hcrun_protocol::exchange::PlannedRound;
use hcrun_protocol::round::RoundId;
use hcrun_protocol::schedule::Coverage;
use hcrun_protocol::{Generation, Rank, Span, Step};

use super::TrainFailure;
use crate::progress::Progress;

pub(super) struct Collect<'a> {
    group: &'a Group<AnyBuffers>,
    generation: Generation,
    me: Rank,
    progress: &'a Progress,
}

/// A round that is on its way.
pub(super) struct Pending(RoundHandle<AnyBuffers>);

/// Liveness is judged by heartbeats and links; this only bounds a wait that both of them miss.
const ROUND_DEADLINE: Span = Span::from_secs(600);

impl<'a> Collect<'a> {
    pub(super) fn new(
        group: &'a Group<AnyBuffers>,
        generation: Generation,
        me: Rank,
        progress: &'a Progress,
    ) -> Collect<'a> {
        Collect { group, generation, me, progress }
    }

    pub(super) fn submit(&self, round: &PlannedRound, step: Step, own: impl Into<AnyBuffers>) -> Pending {
        let program = round.schedule.program(self.me).expect("every rank has a program: ExchangePlan");
        let id = RoundId { generation: self.generation, attempt: 0, step, tag: round.tag };
        Pending(self.group.submit(RoundSpec {
            id,
            classes: RoundClasses {
                partial: round.class(Coverage::Partial),
                complete: round.class(Coverage::Complete),
            },
            program: program.clone(),
            buffers: own.into(),
            deadline: ROUND_DEADLINE,
        }))
    }

    /// Waits for the round's end.
    pub(super) fn finish(&self, pending: Pending) -> Result<AnyBuffers, TrainFailure> {
        self.progress.enter(Activity::Waiting);
        Ok(pending.0.wait()?)
    }

    /// Waits for sums of scalars.
    pub(super) fn sums(&self, pending: Pending) -> Result<Vec<f64>, TrainFailure> {
        let buffers = self.finish(pending)?.into_host().and_then(HostBuffers::into_vec);
        Ok(buffers.expect("what was submitted"))
    }
}
