//! What is known of a link between two workers, and how it is to be used.

use serde::{Deserialize, Serialize};

use crate::time::Span;
use crate::units::BitsPerSec;

/// Most lanes of a worker. Bounds every table that is sized by lanes, also from the wire.
pub const MAX_LANES: usize = 16;

/// Who decides how much may be in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Congestion {
    /// The internet's default: fair to others, slow on long links that lose packets.
    #[default]
    Cubic,
    /// Less sensitive to loss; experimental in the library that implements it.
    Bbr,
    /// For a link of known rate that is this job's alone: keeps it full whatever is lost. Needs the rate.
    Provisioned,
}

/// The settings of the links of a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LinkSpec {
    pub congestion: Congestion,
    /// Of one link, shared by its lanes; unknown when left out.
    pub rate: Option<BitsPerSec>,
    pub round_trip: Option<Span>,
    /// The longest UDP payload that discovery may try; by default what fits the kind of address.
    pub mtu: Option<u16>,
}

impl LinkSpec {
    /// What is on its way when the link is full, both directions of the round trip counted.
    pub fn bandwidth_delay_bytes(&self) -> Option<u64> {
        Some(self.rate?.bytes_in(self.round_trip?).0)
    }
}
