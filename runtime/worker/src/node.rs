//! What a worker sums with the other workers of its node, by NCCL, beside the rounds that run over links.

mod group;
mod offer;

pub use group::NodeError;
pub(crate) use group::NodeGroup;
pub(crate) use offer::Offered;
