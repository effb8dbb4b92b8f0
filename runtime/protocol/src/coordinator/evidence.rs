//! From the first sign of a failure to its first cause.

use serde::{Deserialize, Serialize};

use crate::control::{FailureClass, FailureReport};
use crate::ids::{NodeId, Rank, SlotId, Step, ZoneId};
use crate::time::{Span, Time};

/// How a job failed; ordered by how directly the evidence points at a cause, the most direct first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum FailureKind {
    /// Worker and coordinator are different programs.
    Build,
    /// A worker refused an order by policy.
    Policy,
    /// A file of the worker's node is not as described.
    Data,
    /// A worker's GPU cannot be used, or failed.
    Device,
    /// A worker cannot listen where it should.
    Address,
    /// The training itself failed.
    Training,
    /// No step changes anything any more, because no gradient is finite.
    NotFinite,
    /// Replicas hold different parameters.
    Divergence,
    /// A broken invariant in a worker.
    Internal,
    /// The worker's process ended.
    Exited,
    /// The coordinator itself did not run for so long that its workers left.
    StoodStill,
    /// A checkpoint could not be written.
    Storage,
    /// A worker broke the protocol.
    Protocol,
    /// No heartbeat.
    Silent,
    /// Heartbeats, but no progress, and not because it waits for others.
    Stalled,
    /// The control link closed.
    Disconnected,
    NotJoined,
    Overdue,
    /// A link between workers could not be made or probed.
    Preflight,
    /// Another worker says so.
    BlamedByPeer,
}

impl FailureKind {
    pub(super) fn of(report: &FailureReport) -> FailureKind {
        match report.class {
            FailureClass::Data => FailureKind::Data,
            FailureClass::Preflight => FailureKind::Preflight,
            FailureClass::Address => FailureKind::Address,
            FailureClass::Policy => FailureKind::Policy,
            FailureClass::Peer => FailureKind::BlamedByPeer,
            FailureClass::Training => FailureKind::Training,
            FailureClass::Internal => FailureKind::Internal,
            FailureClass::Device => FailureKind::Device,
        }
    }

    /// How long other evidence may still come in. A worker that was silent for seconds needs no more.
    fn settle(self) -> Span {
        match self {
            FailureKind::Silent | FailureKind::Stalled | FailureKind::NotJoined => Span::from_millis(50),
            _ => Span::from_millis(300),
        }
    }
}

/// How a job failed, for people and for the exit code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    pub slot: Option<SlotId>,
    pub zone: Option<ZoneId>,
    pub node: Option<NodeId>,
    pub kind: FailureKind,
    /// The first cause.
    pub text: String,
    pub committed: Option<Step>,
    /// The last checkpoint of this run.
    pub stored: Option<Step>,
}

#[derive(Debug, Default)]
pub(super) struct Evidence {
    settled: Option<Time>,
    signs: Vec<Sign>,
    /// Ranks that said themselves why they leave, and whom they blame: that they then leave is no news.
    spoke: Vec<(Rank, Rank)>,
}

#[derive(Debug)]
pub(super) struct Sign {
    pub(super) rank: Option<Rank>,
    pub(super) kind: FailureKind,
    pub(super) text: String,
}

/// One sign per rank and kind is enough; this bounds what a babbling worker can leave.
const MAX_SIGNS: usize = 4_096;

impl Evidence {
    /// Whether this is the first sign.
    pub(super) fn add(&mut self, now: Time, rank: Option<Rank>, kind: FailureKind, text: String) -> bool {
        let first = self.settled.is_none();
        if first {
            self.settled = Some(now + kind.settle());
        }
        if self.signs.len() < MAX_SIGNS {
            self.signs.push(Sign { rank, kind, text });
        }
        first
    }

    pub(super) fn spoke(&mut self, rank: Rank, blamed: Rank) {
        if !self.spoke_for_itself(rank) {
            self.spoke.push((rank, blamed));
        }
    }

    pub(super) fn spoke_for_itself(&self, rank: Rank) -> bool {
        self.spoke.iter().any(|(witness, _)| *witness == rank)
    }

    pub(super) fn settled_at(&self) -> Option<Time> {
        self.settled
    }

    /// The most direct sign, the earliest among equals.
    ///
    /// A worker that leaves because of a peer is missed by others in turn, so blame is followed from one to
    /// the next until somebody who blamed nobody, or two who blame each other.
    pub(super) fn first_cause(&self) -> &Sign {
        let first = self.signs.iter().min_by_key(|sign| sign.kind).expect("asked only after a first sign");
        if first.kind != FailureKind::BlamedByPeer {
            return first;
        }
        let mut seen = Vec::new();
        let mut cause = first;
        while let Some(rank) = cause.rank.filter(|rank| !seen.contains(rank)) {
            seen.push(rank);
            let blamed = self.spoke.iter().find(|(witness, _)| *witness == rank).map(|(_, blamed)| *blamed);
            let next = |sign: &&Sign| sign.kind == first.kind && sign.rank == blamed;
            let Some(sign) = blamed.and_then(|_| self.signs.iter().find(next)) else { break };
            cause = sign;
        }
        cause
    }
}
