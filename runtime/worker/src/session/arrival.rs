//! A resumed state on its way in: announced by `Start`, complete when all its elements are here.

use std::sync::atomic::{AtomicU64, Ordering};

use hcrun_protocol::Step;
use hcrun_protocol::control::StateArena;
use hcrun_protocol::frame::{FrameClass, SegmentHeader};

/// Parameters and two moments, and one to spare.
const MAX_ARENAS: usize = 4;

/// The length of an arena, once the worker knows its model.
#[derive(Debug, Default)]
pub struct StateLimit(AtomicU64);

impl StateLimit {
    pub fn set(&self, arena_elems: usize) {
        self.0.store(arena_elems as u64, Ordering::Release);
    }
}

/// What has arrived so far.
#[derive(Debug)]
pub(super) struct Arrival {
    step: Step,
    arenas: Vec<(String, Vec<f32>)>,
    missing: usize,
}

impl Arrival {
    /// Allocates the announced arenas if they are those of the worker's model.
    pub(super) fn new(step: Step, announced: &[StateArena], limit: &StateLimit) -> Result<Arrival, String> {
        let limit = limit.0.load(Ordering::Acquire);
        if announced.len() > MAX_ARENAS {
            return Err(format!("{} arenas of state, at most {MAX_ARENAS} are known", announced.len()));
        }
        let mut arenas = Vec::new();
        for arena in announced {
            if arena.elems != limit {
                return Err(format!(
                    "state `{}` of {} elements, the model has {limit}",
                    arena.name, arena.elems
                ));
            }
            let elems = usize::try_from(arena.elems).map_err(|error| error.to_string())?;
            arenas.push((arena.name.clone(), vec![0.0; elems]));
        }
        let missing = arenas.iter().map(|(_, values)| values.len()).sum();
        Ok(Arrival { step, arenas, missing })
    }

    pub(super) fn is_complete(&self) -> bool {
        self.missing == 0
    }

    pub(super) fn add(&mut self, header: &SegmentHeader, payload: &[u8]) -> Result<(), String> {
        let arena = usize::try_from(header.round).ok().and_then(|index| self.arenas.get_mut(index));
        let place = header.range().zip(arena).and_then(|(range, (_, arena))| arena.get_mut(range));
        let place = place.filter(|_| header.class == FrameClass::Parameters);
        let place = place.ok_or("a state segment outside of what was announced")?;
        if payload.len() != size_of_val(place) || place.len() > self.missing {
            return Err("a state segment of a wrong length".to_owned());
        }
        self.missing -= place.len();
        for (value, bytes) in place.iter_mut().zip(payload.as_chunks().0) {
            *value = f32::from_le_bytes(*bytes);
        }
        Ok(())
    }

    pub(super) fn into_parts(self) -> (Step, Vec<(String, Vec<f32>)>) {
        (self.step, self.arenas)
    }
}
