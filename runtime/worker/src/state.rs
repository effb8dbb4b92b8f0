//! A rank's part of a checkpoint as frames, and what it has sent over borders.

use std::ops::Range;

use bytes::Bytes;
use hcrun_kernels::any_buffers::AnyBuffers;
use hcrun_net::group::Group;
use hcrun_protocol::control::SentBytes;
use hcrun_protocol::frame::SegmentHeader;
use hcrun_protocol::state_transfer::{Origin, cuts};
use hcrun_protocol::{Rank, ZoneId};

/// Frames of the given ranges of each arena; `arenas` holds the ranges one after the other.
pub(crate) fn segments<'a>(
    origin: &'a Origin,
    ranges: &'a [Range<usize>],
    arenas: &'a [(String, Vec<f32>)],
) -> impl Iterator<Item = (SegmentHeader, Bytes)> + 'a {
    arenas.iter().enumerate().flat_map(move |(arena, (_, values))| {
        let starts = ranges.iter().scan(0, |end, range| {
            let start = *end;
            *end += range.len();
            Some((start, range))
        });
        starts.flat_map(move |(start, range)| {
            cuts(range.clone()).map(move |cut| {
                let values = &values[start + cut.start - range.start..start + cut.end - range.start];
                let (header, payload) = origin.segment(arena, cut.start, values);
                (header, payload.into())
            })
        })
    })
}

/// Frame bytes that left this rank's zone so far, by zone and class. `zones` is by rank.
pub(crate) fn border_ledger(group: &Group<AnyBuffers>, me: Rank, zones: &[ZoneId]) -> Vec<SentBytes> {
    let mut ledger: Vec<SentBytes> = Vec::new();
    for row in group.counters().snapshot() {
        let zone = &zones[row.peer.index()];
        if *zone == zones[me.index()] || row.sent == 0 {
            continue;
        }
        match ledger.iter_mut().find(|sent| sent.to_zone == *zone && sent.class == row.class) {
            Some(sent) => sent.bytes += row.sent,
            None => ledger.push(SentBytes { to_zone: zone.clone(), class: row.class, bytes: row.sent }),
        }
    }
    ledger
}
