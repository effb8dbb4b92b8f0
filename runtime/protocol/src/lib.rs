//! The pure core of hcrun: what is decided, and what a byte on the wire means.
//!
//! Ids, units and settings; manifests and residency; schedules, their verifier and byte formula; the
//! machines [`Round`](round), [`Coordinator`](coordinator) and [`Member`](member); frames and their codec.
//! Nothing here knows a socket, clock, thread, environment, hash map or global randomness: time comes in
//! as [`Time`], randomness as a seeded [`Prng`], so sim can rehearse every decision and a log of inputs is
//! a replay.

pub mod batch;
pub mod buffers;
pub mod cluster;
pub mod control;
pub mod control_codec;
pub mod coordinator;
pub mod dtype;
mod error_chain;
pub mod exchange;
pub mod frame;
pub mod ids;
pub mod job;
pub mod link;
pub mod manifest;
pub mod member;
pub mod model;
pub mod order;
pub mod placement;
pub mod plan;
pub mod prng;
pub mod residency;
pub mod round;
pub mod schedule;
pub mod split;
pub mod state_transfer;
pub mod time;
pub mod units;

pub use error_chain::error_chain;
pub use ids::{Generation, JobId, NodeId, PoolId, Rank, ShardId, SlotId, Step, ZoneId};
pub use prng::Prng;
pub use time::{Span, Time};
pub use units::{BitsPerSec, Bytes};
