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

/// A checkpoint is asked for again only after the last one was stored; one more may be on its way.
const MAX_OPEN: usize = 3;

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
        if !self.open.contains_key(&header.step) && self.open.len() >= MAX_OPEN {
            return Err(format!("state after step {} while {MAX_OPEN} others are open", header.step));
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

    /// The state after `step`, once all its parts have been announced as sent.
    pub(super) fn take(&mut self, step: Step) -> Option<Vec<Vec<f32>>> {
        self.open.remove(&step)
    }
}
