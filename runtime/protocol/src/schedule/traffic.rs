//! The byte formula: what a schedule sends, to the byte. Plan and ledger both use it.

use std::collections::BTreeMap;
use std::ops::AddAssign;

use serde::{Deserialize, Serialize};

use crate::dtype::DType;
use crate::frame::HEADER_BYTES;
use crate::ids::Rank;

use super::{Action, Schedule};

/// Frames and their bytes, headers included. QUIC's own overhead is not in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Flow {
    pub frames: u64,
    pub bytes: u64,
}

impl AddAssign for Flow {
    fn add_assign(&mut self, other: Flow) {
        self.frames += other.frames;
        self.bytes += other.bytes;
    }
}

/// A direction between two zones, by their index in zone order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Border {
    pub from: usize,
    pub to: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Traffic {
    /// By sender and receiver.
    pub links: BTreeMap<(Rank, Rank), Flow>,
    /// What leaves one zone for another; links inside a zone are not in it.
    pub borders: BTreeMap<Border, Flow>,
}

pub(super) fn traffic(schedule: &Schedule, dtype: DType) -> Traffic {
    let zone_of: BTreeMap<Rank, usize> = schedule
        .zones
        .iter()
        .enumerate()
        .flat_map(|(zone, ranks)| ranks.iter().map(move |r| (*r, zone)))
        .collect();
    let mut traffic = Traffic::default();
    for (from, program) in &schedule.programs {
        for interval in &program.intervals {
            for action in &interval.actions {
                let Action::Send { to, codec, .. } = action else { continue };
                let bytes = HEADER_BYTES + codec.payload_bytes(dtype, interval.range.len());
                let flow = Flow { frames: 1, bytes: bytes as u64 };
                for to in to {
                    *traffic.links.entry((*from, *to)).or_default() += flow;
                    let border = Border { from: zone_of[from], to: zone_of[to] };
                    if border.from != border.to {
                        *traffic.borders.entry(border).or_default() += flow;
                    }
                }
            }
        }
    }
    traffic
}
