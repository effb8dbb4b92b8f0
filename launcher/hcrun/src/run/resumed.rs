//! The state a run goes on from, as frames for its workers.

use bytes::Bytes;
use hcrun_protocol::control::StateArena;
use hcrun_protocol::dtype::{Codec, DType};
use hcrun_protocol::frame::{self, FrameClass, SegmentHeader};
use hcrun_protocol::schedule::{Coverage, Phase};
use hcrun_protocol::state_transfer::cuts;
use hcrun_protocol::{Generation, JobId, Rank, Step};

/// Parameters and optimizer states, whole arenas.
#[derive(Debug)]
pub(super) struct ResumedState {
    pub(super) job: JobId,
    /// Steps that are in it.
    pub(super) step: Step,
    pub(super) arenas: Vec<(String, Vec<f32>)>,
}

impl ResumedState {
    pub(super) fn announcement(&self) -> Vec<StateArena> {
        let arena = |(name, values): &(String, Vec<f32>)| StateArena {
            name: name.clone(),
            elems: values.len() as u64,
        };
        self.arenas.iter().map(arena).collect()
    }

    /// The frames; their payloads are shared by all that are sent.
    pub(super) fn segments(&self) -> Vec<([u8; 64], Bytes)> {
        let frames = |(index, (_, values)): (usize, &(String, Vec<f32>))| {
            let segments = cuts(0..values.len()).map(|cut| self.segment(index, cut.start, &values[cut]));
            segments.collect::<Vec<_>>()
        };
        self.arenas.iter().enumerate().flat_map(frames).collect()
    }

    fn segment(&self, arena: usize, start: usize, values: &[f32]) -> ([u8; 64], Bytes) {
        let payload: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let header = SegmentHeader {
            class: FrameClass::Parameters,
            job: self.job,
            generation: Generation(1),
            attempt: 0,
            source: Rank(0),
            round: u32::try_from(arena).expect("a handful of arenas"),
            step: self.step,
            offset: start as u64,
            elems: u32::try_from(values.len()).expect("segments are short"),
            dtype: DType::F32,
            codec: Codec::None,
            phase: Phase(0),
            coverage: Coverage::Complete,
            payload_crc32c: frame::payload_crc32c(&payload),
        };
        (header.encode(), payload.into())
    }
}
