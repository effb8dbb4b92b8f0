//! By class: a higher one displaces a lower one.

use crate::state::{Job, State};
use crate::strategy::{Key, Order};

/// The higher class first, by submission within a class.
#[derive(Debug, Clone, Copy)]
pub struct ByClass;

impl Order for ByClass {
    fn key(&self, _state: &State, job: &Job) -> Key {
        let lower = u128::from(u8::MAX - job.spec.class as u8);
        Key(lower << 64 | u128::from(job.spec.submit.0))
    }
}
