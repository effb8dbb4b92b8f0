//! A checkpoint on its way in: the parts of the ranks of one zone, put together.

use std::collections::BTreeMap;

use hcrun_protocol::Step;
use hcrun_protocol::dtype::DType;
use hcrun_protocol::frame::{FrameClass, SegmentHeader};

/// Arenas of states that workers are sending, by step.
#[derive(Debug)]
pub(super) struct Assembly {
    arena_elems: usize,
    arenas: usize,
    open: BTreeMap<Step, Vec<Vec<f32>>>,
}

/// One that waits to be stored, and those whose parts come in: ranks are at most a step apart, their links
/// may be more.
const MIN_OPEN: usize = 4;
/// Small states may queue up behind a link that lost a packet.
const OPEN_BYTES: usize = 256 << 20;

impl Assembly {
    /// `arenas`: parameters and the optimizer's states.
    pub(super) fn new(arena_elems: usize, arenas: usize) -> Assembly {
        Assembly { arena_elems, arenas, open: BTreeMap::new() }
    }

    /// Takes one segment; an error is the worker's fault.
    pub(super) fn add(&mut self, header: &SegmentHeader, payload: &[u8]) -> Result<(), String> {
        header.check_payload(payload).map_err(|error| error.to_string())?;
        if header.class != FrameClass::Parameters || header.dtype != DType::F32 {
            return Err(format!("a state segment of class {}", header.class.name()));
        }
        let limit = self.max_open();
        if !self.open.contains_key(&header.step) && self.open.len() >= limit {
            return Err(format!("state after step {} while {limit} others are open", header.step));
        }
        let arenas = self
            .open
            .entry(header.step)
            .or_insert_with(|| (0..self.arenas).map(|_| vec![0.0; self.arena_elems]).collect());
        let arena = usize::try_from(header.round).ok().and_then(|index| arenas.get_mut(index));
        let place = header.range().zip(arena).and_then(|(range, arena)| arena.get_mut(range));
        let place = place.ok_or("a state segment outside of the model")?;
        for (value, bytes) in place.iter_mut().zip(payload.as_chunks().0) {
            *value = f32::from_le_bytes(*bytes);
        }
        Ok(())
    }

    fn max_open(&self) -> usize {
        let state_bytes = self.arenas * self.arena_elems * size_of::<f32>();
        (OPEN_BYTES / state_bytes.max(1)).max(MIN_OPEN)
    }

    /// The state after `step`, once all its parts have been announced as sent.
    pub(super) fn take(&mut self, step: Step) -> Option<Vec<Vec<f32>>> {
        self.open.remove(&step)
    }
}
