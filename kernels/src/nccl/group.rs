//! The step of a schedule that is left to NCCL: the ranks of one node sum a bucket into the parts that each of them owns, and
//! later gather what the owners made of them.
//!
//! It adds in NCCL's order, not in the one that the schedule fixes (from the owner's successor round to the owner): sums
//! agree with those of the host within rounding. Each sum is formed once, by its owner, so that all ranks get the same
//! bits.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use hcrun_protocol::dtype::ReduceOp;
use hcrun_protocol::ids::Rank;

use super::communicator::{Abort, Communicator};
use super::error::CommunicatorError;
use super::find::Nccl;
use super::operation::{Operation, Span};
use super::stream::DeviceStream;
use super::unique_id::UniqueId;

/// What each rank owns of a bucket, as `Schedule` says it: every element has one owner.
pub type Owned = BTreeMap<Rank, Vec<Range<usize>>>;

/// One rank's end of a node's group.
#[derive(Debug)]
pub struct Group {
    communicator: Communicator,
    /// In the order of NCCL's own numbers.
    ranks: Vec<Rank>,
}

impl Group {
    /// Meets the other `ranks` of the node, which have the same list and id.
    ///
    /// # Errors
    /// If `own` is not among them, or they do not all come within the time.
    pub fn join(
        nccl: &Nccl,
        stream: Box<dyn DeviceStream>,
        id: &UniqueId,
        ranks: &[Rank],
        own: Rank,
        within: Duration,
    ) -> Result<Group, GroupError> {
        let number = number(ranks, own)?;
        let count = u32::try_from(ranks.len()).unwrap_or(u32::MAX);
        let communicator = Communicator::init(nccl, stream, id, number, count, within)?;
        Ok(Group { communicator, ranks: ranks.to_vec() })
    }

    /// Sums the bucket over the group, in place: afterwards a rank's own ranges hold sums, the rest what it held.
    ///
    /// # Errors
    /// If `owned` is no division of the bucket among the group, or the others do not do the same within the time.
    pub fn reduce_scatter(
        &mut self,
        bucket: Span,
        owned: &Owned,
        within: Duration,
    ) -> Result<(), GroupError> {
        let parts = Parts::new(&self.ranks, bucket.elems(), owned)?;
        let own = self.communicator.rank();
        let operations = parts.operations(
            bucket,
            |from, to| Operation::ReduceScatter { from, to, op: ReduceOp::Sum },
            |part, root| Operation::Reduce { from: part, to: part, op: ReduceOp::Sum, root },
            own,
        );
        Ok(self.communicator.run(&operations, within)?)
    }

    /// Gives every rank what the owners hold, in place.
    ///
    /// # Errors
    /// As [`Self::reduce_scatter`].
    pub fn all_gather(&mut self, bucket: Span, owned: &Owned, within: Duration) -> Result<(), GroupError> {
        let parts = Parts::new(&self.ranks, bucket.elems(), owned)?;
        let own = self.communicator.rank();
        let operations = parts.operations(
            bucket,
            |to, from| Operation::AllGather { from, to },
            |part, root| Operation::Broadcast { from: part, to: part, root },
            own,
        );
        Ok(self.communicator.run(&operations, within)?)
    }

    pub fn abort_handle(&self) -> Abort {
        self.communicator.abort_handle()
    }

    /// Ends the group, which all its ranks have to do.
    ///
    /// # Errors
    /// If they do not within the time.
    pub fn finish(self, within: Duration) -> Result<(), GroupError> {
        Ok(self.communicator.finish(within)?)
    }
}

/// Why the group did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GroupError {
    #[error("rank {} is not of the group {:?}", rank.0, ranks.iter().map(|rank| rank.0).collect::<Vec<_>>())]
    Stranger { rank: Rank, ranks: Vec<Rank> },
    #[error("element {element} of a bucket of {elems} has no owner in the group, or two")]
    Owners { element: usize, elems: usize },
    #[error(transparent)]
    Communicator(#[from] CommunicatorError),
}

/// Ranges that cover a bucket, in order, each with NCCL's number of its owner.
#[derive(Debug, PartialEq, Eq)]
struct Parts {
    parts: Vec<(Range<usize>, u32)>,
    /// All have one length and follow each other in the order of the ranks.
    are_even: bool,
}

impl Parts {
    fn new(ranks: &[Rank], elems: usize, owned: &Owned) -> Result<Parts, GroupError> {
        let mut parts = Vec::new();
        for (rank, ranges) in owned {
            let owner = number(ranks, *rank)?;
            parts.extend(ranges.iter().filter(|range| !range.is_empty()).map(|range| (range.clone(), owner)));
        }
        parts.sort_by_key(|(range, _)| range.start);
        let mut element = 0;
        for (range, _) in &parts {
            if range.start != element || range.end > elems {
                return Err(GroupError::Owners { element: element.min(range.start), elems });
            }
            element = range.end;
        }
        if element != elems {
            return Err(GroupError::Owners { element, elems });
        }
        let owners = parts.iter().map(|(_, owner)| *owner);
        let numbers = 0..u32::try_from(ranks.len()).unwrap_or(u32::MAX);
        let are_even = owners.eq(numbers) && parts.windows(2).all(|pair| pair[0].0.len() == pair[1].0.len());
        Ok(Parts { parts, are_even })
    }

    /// NCCL's own scatter or gather where the parts are even, of the whole and the part of rank `own`; else an operation
    /// a part.
    fn operations(
        &self,
        bucket: Span,
        whole: impl Fn(Span, Span) -> Operation,
        part: impl Fn(Span, u32) -> Operation,
        own: u32,
    ) -> Vec<Operation> {
        let spans =
            self.parts.iter().filter_map(|(range, owner)| Some((bucket.part(range.clone())?, *owner)));
        if self.are_even {
            spans.filter(|(_, owner)| *owner == own).map(|(span, _)| whole(bucket, span)).collect()
        } else {
            spans.map(|(span, owner)| part(span, owner)).collect()
        }
    }
}

/// NCCL's number of a rank.
fn number(ranks: &[Rank], rank: Rank) -> Result<u32, GroupError> {
    let index = ranks.iter().position(|other| *other == rank);
    let number = index.and_then(|index| u32::try_from(index).ok());
    number.ok_or_else(|| GroupError::Stranger { rank, ranks: ranks.to_vec() })
}

#[cfg(test)]
mod tests {
    use super::*;

    const RANKS: [Rank; 3] = [Rank(4), Rank(2), Rank(9)];

    fn parts(owned: &[(u16, Range<usize>)]) -> Result<Parts, GroupError> {
        let mut by_rank = Owned::new();
        for (rank, range) in owned {
            by_rank.entry(Rank(*rank)).or_default().push(range.clone());
        }
        Parts::new(&RANKS, 12, &by_rank)
    }

    #[test]
    fn even_parts_in_order_are_one_operation_and_others_are_one_each() {
        assert!(parts(&[(4, 0..4), (2, 4..8), (9, 8..12)]).unwrap().are_even);
        let out_of_order = parts(&[(2, 0..4), (4, 4..8), (9, 8..12)]).unwrap();
        assert!(!out_of_order.are_even);
        assert_eq!(out_of_order.parts, [(0..4, 1), (4..8, 0), (8..12, 2)]);
        assert!(!parts(&[(4, 0..3), (2, 3..8), (9, 8..12)]).unwrap().are_even);
        assert!(!parts(&[(4, 0..6), (2, 6..12), (9, 12..12)]).unwrap().are_even);
        assert!(!parts(&[(4, 0..3), (2, 3..6), (9, 6..9), (4, 9..12)]).unwrap().are_even);
    }

    #[test]
    fn every_element_needs_one_owner_of_the_group() {
        let owners = |element| Err(GroupError::Owners { element, elems: 12 });
        assert_eq!(parts(&[(4, 0..4), (2, 5..8), (9, 8..12)]), owners(4));
        assert_eq!(parts(&[(4, 0..4), (2, 3..8), (9, 8..12)]), owners(3));
        assert_eq!(parts(&[(4, 0..4), (2, 4..8)]), owners(8));
        assert_eq!(parts(&[(4, 0..4), (2, 4..13)]), owners(4));
        assert_eq!(parts(&[]), owners(0));
        assert!(matches!(parts(&[(3, 0..12)]), Err(GroupError::Stranger { rank: Rank(3), .. })));
    }
}
