//! What can go wrong in a group, and whose fault it is.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use hcrun_protocol::buffers::BufferError;
use hcrun_protocol::dtype::{Codec, DType, ReduceOp};
use hcrun_protocol::frame::{FrameClass, FrameError};
use hcrun_protocol::round::{Cause, RoundId};
use hcrun_protocol::schedule::Coverage;
use hcrun_protocol::{Generation, JobId, Rank, Step};

use super::Member;
use crate::identity::{Peer, PeerError};
use crate::loss::LinkLoss;

/// A link that should stand: who dials whom, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    pub dials: (Rank, Peer),
    pub listens: (Rank, Peer),
    pub address: Option<SocketAddr>,
}

impl Pair {
    pub(super) fn new(dials: &Member, listens: &Member, lane: usize) -> Pair {
        Pair {
            dials: (dials.rank, dials.peer()),
            listens: (listens.rank, listens.peer()),
            address: listens.lanes.get(lane).copied(),
        }
    }
}

impl fmt::Display for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} dials {}", self.dials.1, self.listens.1)?;
        match self.address {
            Some(address) => write!(f, " at UDP {address}"),
            None => f.write_str(", whose address is unknown"),
        }
    }
}

/// Why a group could not be formed.
#[derive(Debug, thiserror::Error)]
pub enum FormError {
    #[error("the member list has no {me} that is {identity}")]
    NotAMember { me: Rank, identity: Peer },
    #[error("the member list is not dense: entry {index} is {got}")]
    Members { index: usize, got: Rank },
    #[error(
        "{first} and {second} cannot reach each other: neither may be dialled; set `reachable = true` for one of their pools"
    )]
    NeitherReachable { first: Peer, second: Peer },
    #[error("{peer} has {got} lanes, this worker {expected}: set the same number for all")]
    Lanes { peer: Peer, got: usize, expected: usize },
    #[error("no link: {0}")]
    NoAddress(Box<Pair>),
    #[error("the lane's TLS settings cannot be used")]
    Tls(#[source] crate::endpoint::BindError),
    #[error("no link: {pair}")]
    Link {
        pair: Box<Pair>,
        #[source]
        source: GreetingError,
    },
    /// Says also who knocked and was turned away: often that is the reason.
    #[error("{} of the links did not stand within {} s: {}{}: check that UDP passes in this direction", .missing.len(), .within.as_secs_f64(), joined(.missing), turned_away(.refused))]
    Deadline { missing: Vec<Pair>, within: Duration, refused: Vec<String> },
    #[error("forming the group was aborted: {reason}")]
    Aborted { reason: String },
    #[error("the lane's thread has ended")]
    LaneGone,
}

fn joined(pairs: &[Pair]) -> String {
    pairs.iter().map(Pair::to_string).collect::<Vec<_>>().join("; ")
}

fn turned_away(refused: &[String]) -> String {
    if refused.is_empty() { String::new() } else { format!(" (turned away: {})", refused.join("; ")) }
}

/// Why two members did not agree to be linked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GreetingError {
    #[error("the link failed")]
    Lost(#[source] LinkLoss),
    #[error("the address cannot be dialled: {0}")]
    Address(String),
    #[error("its certificate is refused")]
    Peer(#[source] PeerError),
    #[error("expected {expected}, found {got}")]
    OtherPeer { got: Peer, expected: Peer },
    #[error("it is no member that should dial here: {0}")]
    NotExpected(Peer),
    #[error("its greeting is not one of this protocol")]
    Malformed,
    #[error("it speaks protocol {got}, this worker {expected}: install the same build on both hosts")]
    Protocol { got: u32, expected: u32 },
    #[error("it is in job {got}, this worker in {expected}")]
    Job { got: JobId, expected: JobId },
    #[error("it is in generation {}, this worker in {}", .got.0, .expected.0)]
    Generation { got: Generation, expected: Generation },
    #[error("it dials from lane {got}, this is lane {expected}")]
    Lane { got: u16, expected: u16 },
    #[error("it calls itself {got}, the member list says {expected}")]
    Rank { got: Rank, expected: Rank },
}

/// Why a round has no result. `step` is the step of the round, the rest is the group's first failure.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RoundError {
    #[error("step {step}: lost {peer} ({rank})")]
    PeerLost {
        peer: Box<Peer>,
        rank: Rank,
        step: Step,
        #[source]
        source: LinkLoss,
    },
    /// The peer closed the group. `blamed` is who it saw fail, and `reason` what the first of all who gave
    /// up said; news of a failure may come from a bystander before its effect is seen here.
    #[error("step {step}: {peer} ({rank}) gave up: {reason}")]
    GaveUp { peer: Box<Peer>, rank: Rank, blamed: Option<Rank>, step: Step, reason: String },
    /// The peer's fault; its link is closed.
    #[error("step {step}: {peer} ({rank}) broke the protocol")]
    PeerFault {
        peer: Box<Peer>,
        rank: Rank,
        step: Step,
        #[source]
        source: SegmentFault,
    },
    #[error("step {step}: waited in vain for {peer} ({rank})")]
    PeerLate {
        peer: Box<Peer>,
        rank: Rank,
        step: Step,
        #[source]
        source: Cause,
    },
    #[error("step {step}: the round failed")]
    Round {
        step: Step,
        #[source]
        source: Cause,
    },
    /// This rank's own fault.
    #[error("step {step}: this worker cannot exchange")]
    Memory {
        step: Step,
        #[source]
        source: BufferError,
    },
    #[error("step {step}: aborted: {reason}")]
    Aborted { step: Step, reason: String },
    /// A schedule that no verifier passed.
    #[error("step {step}: refused to send {coverage:?} {class:?} to {peer}, across the zone border")]
    Border { peer: Box<Peer>, step: Step, class: FrameClass, coverage: Coverage },
    #[error("round {0:?} was submitted before")]
    Twice(RoundId),
    #[error("round {id:?} is of another generation than the group ({})", .group.0)]
    Generation { id: RoundId, group: Generation },
    #[error("the program of round {id:?} is over {program} elements, its buffers over {buffers}")]
    Elems { id: RoundId, program: usize, buffers: usize },
    #[error("round {id:?} asks for {op:?} of {dtype:?}, which is not defined")]
    Operation { id: RoundId, op: ReduceOp, dtype: DType },
    #[error("round {id:?} has segments of {got} bytes, the group was formed for {limit}")]
    SegmentTooLong { id: RoundId, got: usize, limit: usize },
    #[error("the group is closed")]
    Closed,
}

impl RoundError {
    /// Who is to blame, if it is a peer.
    pub fn peer(&self) -> Option<Rank> {
        match self {
            RoundError::PeerLost { rank, .. }
            | RoundError::PeerFault { rank, .. }
            | RoundError::PeerLate { rank, .. } => Some(*rank),
            RoundError::GaveUp { rank, blamed, .. } => Some(blamed.unwrap_or(*rank)),
            _ => None,
        }
    }

    /// What is said when the group is closed for this: who is blamed, then why.
    pub(super) fn farewell(&self) -> String {
        let blamed = self.peer().map_or("-".to_owned(), |rank| rank.0.to_string());
        let reason = match self {
            RoundError::Aborted { reason, .. } | RoundError::GaveUp { reason, .. } => reason.clone(),
            other => {
                let source = std::error::Error::source(other).map(|source| format!(": {source}"));
                format!("{other}{}", source.unwrap_or_default())
            }
        };
        format!("{blamed} {reason}")
    }

    /// Reads the [`Self::farewell`] of a peer. Its blame is evidence, not proof.
    pub(super) fn gave_up(peer: Peer, rank: Rank, ranks: usize, step: Step, farewell: &str) -> RoundError {
        let (blamed, reason) = farewell.split_once(' ').unwrap_or(("-", farewell));
        let blamed = blamed.parse().ok().map(Rank).filter(|rank| rank.index() < ranks);
        RoundError::GaveUp { peer: Box::new(peer), rank, blamed, step, reason: reason.to_owned() }
    }

    /// The same failure as another round of the group sees it.
    pub(super) fn at(&self, at: Step) -> RoundError {
        let mut error = self.clone();
        match &mut error {
            RoundError::PeerLost { step, .. }
            | RoundError::GaveUp { step, .. }
            | RoundError::PeerFault { step, .. }
            | RoundError::PeerLate { step, .. }
            | RoundError::Round { step, .. }
            | RoundError::Memory { step, .. }
            | RoundError::Aborted { step, .. }
            | RoundError::Border { step, .. } => *step = at,
            RoundError::Twice(_)
            | RoundError::Generation { .. }
            | RoundError::Elems { .. }
            | RoundError::Operation { .. }
            | RoundError::SegmentTooLong { .. }
            | RoundError::Closed => {}
        }
        error
    }
}

/// A segment that no honest peer sends.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SegmentFault {
    #[error("a frame is refused")]
    Frame(#[source] FrameError),
    #[error("a frame is of job {got}, this is job {expected}")]
    Job { got: JobId, expected: JobId },
    #[error("a frame is of generation {}, this is {}", .got.0, .expected.0)]
    Generation { got: Generation, expected: Generation },
    #[error("a frame claims to be from {got}")]
    Source { got: Rank },
    #[error("a frame carries {coverage:?} {class:?} across the zone border")]
    Border { class: FrameClass, coverage: Coverage },
    #[error("a frame carries {coverage:?} {got:?} in a round of {expected:?}")]
    Class { got: FrameClass, expected: FrameClass, coverage: Coverage },
    #[error("a frame carries {got:?} in a round of {expected:?}")]
    DType { got: DType, expected: DType },
    #[error("a frame is to be combined by {got:?}, the round asks for {expected:?}")]
    Operation { got: ReduceOp, expected: ReduceOp },
    #[error("a frame is packed as `{got}`, the round asks for `{expected}`")]
    Codec { got: Codec, expected: Codec },
    #[error("it was asked for another collective: length, algorithm, members or segments differ")]
    OtherSchedule,
    #[error("a frame is of round {0:?}, which is over")]
    RoundOver(RoundId),
    #[error("a segment is twice here or in no schedule")]
    Schedule(#[source] Cause),
    #[error("a payload does not fit its place")]
    Payload(#[source] BufferError),
}
