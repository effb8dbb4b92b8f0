//! The state a run goes on from, as frames for its workers.

use bytes::Bytes;
use hcrun_protocol::control::StateArena;
use hcrun_protocol::state_transfer::{Origin, cuts};
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
        let origin = Origin { job: self.job, generation: Generation(1), rank: Rank(0), step: self.step };
        let frames = |(index, (_, values)): (usize, &(String, Vec<f32>))| {
            let segments = cuts(0..values.len()).map(|cut| {
                let (header, payload) = origin.segment(index, cut.start, &values[cut]);
                (header.encode(), payload.into())
            });
            segments.collect::<Vec<_>>()
        };
        self.arenas.iter().enumerate().flat_map(frames).collect()
    }
}
