//! Checkpoints: what a run goes on from, and what a prediction needs.
//!
//! `checkpoints/step-N/` holds the state after N updates: `model.safetensors` (PyTorch's names, shapes and
//! layouts), `optimizer.safetensors` (each state over the whole arena), `model.json` (model, data section,
//! encoding, statistics) and `MANIFEST.json`, written last, with the size and SHA-256 of every file. A
//! checkpoint is written under a temporary name, every file and then the folder synced, and renamed; so at
//! any instant there is one that loads, or the one before it. Folders that do not load are passed over,
//! with the reason.
//!
//! The folder belongs to one process at a time: the run's lock sees to that.

mod description;
mod files;
mod folder;
mod load;
mod manifest;
mod tensors;
mod write;

pub use description::{DescriptionError, ModelDescription};
pub use load::{Found, LoadError, Skipped, latest_good, load};
pub use manifest::{CHECKPOINT_SCHEMA, FileEntry, Manifest, Meta, WorkerPlace};
pub use tensors::TensorError;
pub use write::{WriteError, Written, write};

use crate::data::Statistics;

/// The state after some updates, in memory.
#[derive(Debug, Clone, PartialEq)]
pub struct Checkpoint {
    pub meta: Meta,
    pub model: ModelDescription,
    /// The whole arena, with its padding.
    pub params: Vec<f32>,
    /// Each state of the optimizer by PyTorch's name, over the whole arena.
    pub optimizer: Vec<(String, Vec<f32>)>,
}

impl Checkpoint {
    /// What features and target are standardised by; none for text.
    pub fn statistics(&self) -> Option<&Statistics> {
        self.model.statistics.as_ref()
    }
}

/// Checkpoints that are kept unless the caller says otherwise: the newest, and two to fall back to.
pub const KEEP: usize = 3;

#[cfg(test)]
mod tests;
