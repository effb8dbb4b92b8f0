//! Rounds from the training thread's side: submit what is ready, wait for what is needed.

use std::collections::BTreeMap;

use hcrun_kernels::host_buffers::{Element, Feedback, HostBuffers};
use hcrun_net::group::{Group, RoundClasses, RoundHandle, RoundSpec};
use hcrun_protocol::control::Activity;
use hcrun_protocol::exchange::PlannedRound;
use hcrun_protocol::round::RoundId;
use hcrun_protocol::schedule::Coverage;
use hcrun_protocol::{Generation, Rank, Span, Step};

use super::TrainFailure;
use crate::progress::Progress;

pub(super) struct Collect<'a> {
    group: &'a Group<HostBuffers>,
    generation: Generation,
    me: Rank,
    progress: &'a Progress,
    /// Vectors of finished rounds, so that a step allocates nothing after the first.
    spares: Vec<Vec<f32>>,
    /// What codecs have rounded away so far, by the round's tag; it is added to the next step's gradient.
    feedback: BTreeMap<u32, Feedback>,
}

/// A round that is on its way.
pub(super) struct Pending {
    handle: RoundHandle<HostBuffers>,
    tag: u32,
}

/// Liveness is judged by heartbeats and links; this only bounds a wait that both of them miss.
const ROUND_DEADLINE: Span = Span::from_secs(600);

/// More than the rounds of one step of any sane bucket count.
const MAX_SPARES: usize = 1_024;

impl<'a> Collect<'a> {
    pub(super) fn new(
        group: &'a Group<HostBuffers>,
        generation: Generation,
        me: Rank,
        progress: &'a Progress,
    ) -> Collect<'a> {
        Collect { group, generation, me, progress, spares: Vec::new(), feedback: BTreeMap::new() }
    }

    /// A vector of this length with any content.
    pub(super) fn buffer(&mut self, elems: usize) -> Vec<f32> {
        let mut buffer = self.spares.pop().unwrap_or_default();
        buffer.resize(elems, 0.0);
        buffer
    }

    pub(super) fn submit<E: Element>(&mut self, round: &PlannedRound, step: Step, own: Vec<E>) -> Pending {
        let program = round.schedule.program(self.me).expect("every rank has a program: ExchangePlan");
        let id = RoundId { generation: self.generation, attempt: 0, step, tag: round.tag };
        let mut buffers = HostBuffers::new(own);
        if let Some(feedback) = self.feedback.remove(&round.tag) {
            buffers = buffers.feedback(feedback);
        } else if round.schedule.codec().is_lossy() {
            buffers = buffers.feedback(Feedback::default());
        }
        let handle = self.group.submit(RoundSpec {
            id,
            classes: RoundClasses {
                partial: round.class(Coverage::Partial),
                complete: round.class(Coverage::Complete),
            },
            program: program.clone(),
            buffers,
            deadline: ROUND_DEADLINE,
        });
        Pending { handle, tag: round.tag }
    }

    /// Waits for a sum of scalars.
    pub(super) fn finish<E: Element>(&mut self, pending: Pending) -> Result<Vec<E>, TrainFailure> {
        let buffers = self.wait(pending)?;
        Ok(buffers.into_vec().expect("the type that was submitted"))
    }

    /// Waits for a bucket and copies what this rank has of its result; the rest of `into` is undefined.
    pub(super) fn finish_into(&mut self, pending: Pending, into: &mut [f32]) -> Result<(), TrainFailure> {
        let tag = pending.tag;
        let buffers = self.wait(pending)?;
        let parts = buffers.into_parts::<f32>().expect("the type that was submitted");
        into.copy_from_slice(&parts.result);
        if let Some(feedback) = parts.feedback {
            self.feedback.insert(tag, feedback);
        }
        if self.spares.len() < MAX_SPARES {
            self.spares.push(parts.result);
        }
        Ok(())
    }

    fn wait(&self, pending: Pending) -> Result<HostBuffers, TrainFailure> {
        self.progress.enter(Activity::Waiting);
        Ok(pending.handle.wait()?)
    }
}
