//! Why a collective was not begun, and why one has no result.

use std::fmt;

use hcrun_protocol::Rank;
use hcrun_protocol::dtype::{Codec, DType, ReduceOp};
use hcrun_protocol::schedule::{ScheduleError, Violation};

use crate::group::RoundError;

/// A call that no rank should make. Nothing was sent; the group is as before.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    #[error("{op:?} is not defined for {dtype:?}")]
    Operation { op: ReduceOp, dtype: DType },
    #[error("`{codec}` packs f32, not {dtype:?}")]
    Codec { codec: Codec, dtype: DType },
    #[error("a ring would round every partial sum of {dtype:?}: use `direct`")]
    RingRounds { dtype: DType },
    #[error("only sums cross a zone border, and the ranks are in {zones} zones")]
    Border { zones: usize },
    #[error("the root is {root}, the ranks are {}", names(.ranks))]
    Root { root: Rank, ranks: Vec<Rank> },
    #[error("tag {tag} is not between 1 and {}", .limit - 1)]
    Tag { tag: u32, limit: u32 },
    #[error("tag {tag} is in use: wait for its last collective first")]
    TagInUse { tag: u32 },
    #[error("{me} cannot make a subgroup of {}: each of them once, {me} among them, out of {}", names(.ranks), names(.of))]
    Subgroup { me: Rank, ranks: Vec<Rank>, of: Vec<Rank> },
    #[error("the subgroup of {} exists: use it, or its tags would be mixed up", names(.ranks))]
    SubgroupTwice { ranks: Vec<Rank> },
    #[error("the subgroups of {} and {} cannot be told apart: list one in another order", names(.ranks), names(.other))]
    SubgroupClash { ranks: Vec<Rank>, other: Vec<Rank> },
    #[error("this rank is not one of the communicator's")]
    NotAMember,
    #[error("no schedule can be built")]
    Schedule(#[from] ScheduleError),
    #[error("the schedule breaks a rule")]
    Violation(#[from] Violation),
}

impl CallError {
    /// For calls that begin and wait in one.
    pub(super) fn failed<B>(self, operation: &'static str) -> Failed<B> {
        Failed { operation, tag: None, cause: FailCause::Call(self), preserved: None }
    }
}

fn names(ranks: &[Rank]) -> String {
    ranks.iter().map(Rank::to_string).collect::<Vec<_>>().join(", ")
}

/// A collective that failed here, and therefore on all ranks.
pub struct Failed<B> {
    /// As the caller knows it, such as `all-reduce`.
    pub operation: &'static str,
    /// As the caller gave it.
    pub tag: Option<u32>,
    pub cause: FailCause,
    /// The buffer as it was given, if the call asked for that.
    pub preserved: Option<B>,
}

/// What a collective has failed of.
#[derive(Debug, thiserror::Error)]
pub enum FailCause {
    /// It was not begun; the group is as before.
    #[error(transparent)]
    Call(CallError),
    /// Nothing in the group can succeed any more: form it anew.
    #[error(transparent)]
    Round(RoundError),
}

impl<B> Failed<B> {
    /// Who is to blame, if it is another rank.
    pub fn peer(&self) -> Option<Rank> {
        match &self.cause {
            FailCause::Round(error) => error.peer(),
            FailCause::Call(_) => None,
        }
    }
}

impl<B> fmt::Debug for Failed<B> {
    /// Without the buffer.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Failed");
        out.field("operation", &self.operation).field("tag", &self.tag).field("cause", &self.cause);
        out.finish_non_exhaustive()
    }
}

impl<B> fmt::Display for Failed<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} failed", self.operation)?;
        self.tag.map_or(Ok(()), |tag| write!(f, " (tag {tag})"))
    }
}

impl<B> std::error::Error for Failed<B> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.cause)
    }
}
