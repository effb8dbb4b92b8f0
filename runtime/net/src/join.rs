//! Joining: how a worker on any host gets its certificate.
//!
//! The launcher writes one [`JoinBundle`] per slot. The worker makes its own key, shows the join endpoint a
//! self-signed certificate over it (so the handshake proves that it holds the key), and sends the bundle's
//! token, which names a slot, works once and for minutes. The endpoint answers with a leaf for that slot
//! and the control address. The worker knows the endpoint by the coordinator zone's root in the bundle.
//!
//! Requests come from strangers, so they are a short JSON object with a hard bound, not a control message.

mod bundle;
mod client;
mod server;
mod ticket;

use std::net::SocketAddr;

use hcrun_protocol::{SlotId, ZoneId};
use serde::{Deserialize, Serialize};

pub use bundle::{BundleError, JoinBundle};
pub use client::{JoinError, Joined, redeem};
pub use server::{JoinEvent, JoinServer};
pub use ticket::TicketError;

/// What a worker asks.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    protocol: u32,
    slot: SlotId,
    zone: ZoneId,
    token: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Answer {
    Issued { chain: Vec<String>, control: SocketAddr },
    Refused(JoinRefusal),
}

/// Why a token is not taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "kebab-case")]
pub enum JoinRefusal {
    #[error("the token is unknown: use the join bundle that this run wrote for the slot")]
    UnknownToken,
    #[error("the token was used before: a bundle joins one worker once; ask the launcher for a new one")]
    Used,
    #[error("the token has expired: ask the launcher for a new join bundle")]
    Expired,
    #[error(
        "the launcher speaks protocol {launcher}, this worker {worker}: install the same build on both hosts"
    )]
    Protocol { launcher: u32, worker: u32 },
    #[error("the launcher could not issue a certificate: its log says why")]
    Failed,
}

/// Longest request; one is about 200 bytes.
const REQUEST_BYTES: usize = 1 << 10;
/// Longest answer; one is about 2 KiB.
const ANSWER_BYTES: usize = 32 << 10;

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let (pairs, rest) = digits.as_chunks::<2>();
    let bytes = pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect();
    if rest.is_empty() { bytes } else { None }
}

#[cfg(test)]
mod tests;
