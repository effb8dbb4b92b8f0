//! Whose state is taken: what a link's segments must say of where they come from.

use std::collections::BTreeMap;

use hcrun_protocol::coordinator::Settings;
use hcrun_protocol::frame::SegmentHeader;
use hcrun_protocol::{Generation, JobId, Rank, SlotId};

/// The workers that hand over state.
#[derive(Debug)]
pub(super) struct Members {
    job: JobId,
    generation: Generation,
    /// Those of the checkpoint zone.
    ranks: BTreeMap<SlotId, Rank>,
}

impl Members {
    pub(super) fn of(settings: &Settings) -> Members {
        // Job, generation and zone are the same in all.
        let first = settings.assignments.first().expect("a job has workers");
        let workers = settings.workers.iter().enumerate();
        let handing_over = workers.filter(|(_, worker)| worker.zone == first.checkpoint_zone);
        Members {
            job: first.job,
            generation: first.generation,
            ranks: handing_over.map(|(rank, worker)| (worker.slot.clone(), Rank::from_index(rank))).collect(),
        }
    }

    /// An error is the worker's fault: its link carries its own state of this run and nothing else.
    pub(super) fn check_origin(&self, slot: &SlotId, header: &SegmentHeader) -> Result<(), String> {
        let Some(rank) = self.ranks.get(slot) else {
            return Err("sent state, but is not in the checkpoint zone".to_owned());
        };
        if header.source != *rank {
            return Err(format!("sent state of rank {}, but is rank {rank}", header.source));
        }
        if (header.job, header.generation) != (self.job, self.generation) {
            return Err("sent state of another run or generation".to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use hcrun_protocol::Step;
    use hcrun_protocol::dtype::{Codec, DType, ReduceOp};
    use hcrun_protocol::frame::FrameClass;
    use hcrun_protocol::schedule::{Coverage, Phase};

    use super::*;

    #[test]
    fn only_a_members_own_state_of_this_run_is_taken() {
        let slot = |name| SlotId::parse(name).unwrap();
        let ranks = BTreeMap::from([(slot("private-0"), Rank(0)), (slot("private-1"), Rank(1))]);
        let members = Members { job: JobId(7), generation: Generation(1), ranks };
        let good = SegmentHeader {
            class: FrameClass::Parameters,
            job: JobId(7),
            generation: Generation(1),
            attempt: 0,
            source: Rank(1),
            round: 0,
            step: Step(3),
            offset: 0,
            elems: 0,
            dtype: DType::F32,
            codec: Codec::None,
            op: ReduceOp::Sum,
            phase: Phase(0),
            coverage: Coverage::Complete,
            schedule: 0,
        };
        members.check_origin(&slot("private-1"), &good).unwrap();
        for (from, header) in [
            ("public-0", good.clone()),
            ("private-0", good.clone()),
            ("private-1", SegmentHeader { job: JobId(8), ..good.clone() }),
            ("private-1", SegmentHeader { generation: Generation(2), ..good }),
        ] {
            members.check_origin(&slot(from), &header).unwrap_err();
        }
    }
}
