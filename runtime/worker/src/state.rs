//! A rank's part of a checkpoint as frames, and what it has sent over borders.

use std::ops::Range;

use bytes::Bytes;
use hcrun_kernels::host_buffers::HostBuffers;
use hcrun_net::group::Group;
use hcrun_protocol::control::SentBytes;
use hcrun_protocol::dtype::{Codec, DType};
use hcrun_protocol::frame::{self, FrameClass, SegmentHeader};
use hcrun_protocol::schedule::{Coverage, Phase};
use hcrun_protocol::state_transfer::cuts;
use hcrun_protocol::{Generation, JobId, Rank, Step, ZoneId};

/// Whose state it is, after which step.
pub(crate) struct Origin {
    pub(crate) job: JobId,
    pub(crate) generation: Generation,
    pub(crate) rank: Rank,
    pub(crate) step: Step,
}

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
                segment(origin, arena, cut.start, values)
            })
        })
    })
}

fn segment(origin: &Origin, arena: usize, offset: usize, values: &[f32]) -> (SegmentHeader, Bytes) {
    let payload: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    let header = SegmentHeader {
        class: FrameClass::Parameters,
        job: origin.job,
        generation: origin.generation,
        attempt: 0,
        source: origin.rank,
        round: u32::try_from(arena).expect("a handful of arenas"),
        step: origin.step,
        offset: offset as u64,
        elems: u32::try_from(values.len()).expect("at most state_transfer::SEGMENT_ELEMS"),
        dtype: DType::F32,
        codec: Codec::None,
        phase: Phase(0),
        coverage: Coverage::Complete,
        payload_crc32c: frame::payload_crc32c(&payload),
    };
    (header, payload.into())
}

/// Frame bytes that left this rank's zone so far, by zone and class. `zones` is by rank.
pub(crate) fn border_ledger(group: &Group<HostBuffers>, me: Rank, zones: &[ZoneId]) -> Vec<SentBytes> {
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
