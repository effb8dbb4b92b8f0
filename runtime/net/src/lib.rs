//! QUIC links between processes: identities, control links, joining, and the shell around rounds.
//!
//! Everything here is about bytes and who sent them; nothing knows what is trained. Every connection is
//! TLS 1.3 with certificates on both sides. A peer is a [`identity::Peer`]: its zone is the authority that
//! validated its chain. What a peer sends is bounded before anything is allocated for it.

pub mod collective;
mod congestion;
pub mod control;
mod endpoint;
pub mod group;
pub mod identity;
pub mod join;
mod loss;
pub mod socket;
#[cfg(test)]
mod testing;

pub use endpoint::BindError;
pub use loss::{CloseCode, LinkLoss};
