//! What is said between a test and its ranks.

use std::net::SocketAddr;
use std::time::Duration;

use hcrun_net::identity::IdentityPem;
use hcrun_protocol::{Generation, Rank, SlotId};
use serde::{Deserialize, Serialize};

#[derive(Debug, Serialize, Deserialize)]
pub enum Order {
    /// The first one.
    Bind { identity: IdentityPem, silence: Duration },
    /// Form a group and all-reduce, so often or until it fails.
    Form { generation: Generation, me: Rank, seats: Vec<Seat>, elems: usize, rounds: Option<u64> },
}

/// A member of a group; its rank is its place in the list.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Seat {
    pub slot: SlotId,
    pub lanes: Vec<SocketAddr>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    Bound {
        lanes: Vec<SocketAddr>,
    },
    /// An all-reduce has begun.
    Began,
    /// All rounds had the right sum.
    Done,
    /// An all-reduce failed; `peer` is who is blamed.
    Failed {
        peer: Option<Rank>,
        text: String,
    },
}
