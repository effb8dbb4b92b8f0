//! Checkpoints: what a run goes on from, and what a prediction needs.
//!
//! `checkpoints/step-N/` holds the state after N updates: `model.safetensors` (PyTorch's names, shapes and
//! layouts), `optimizer.safetensors` (each state over the whole arena), `model.json` (model, data section,
//! encoding, statistics) and `MANIFEST.json`, written last, with the size and SHA-256 of every file. A
//! checkpoint is written under a temporary name, every file and then the folder synced, and renamed; so at
//! any instant there is one that loads, or the one before it. Folders that do not load are passed over,
//! with the reason.
//!
//! A compressed checkpoint has the same files but those of the optimizer, packed weights in `model.safetensors`, and
//! in its manifest how they are packed. Predictions are made with it; training does not go on from it.
//!
//! The folder belongs to one process at a time: the run's lock sees to that.

mod compressed;
mod description;
mod files;
mod folder;
mod load;
mod manifest;
mod tensors;
mod write;

pub use compressed::{Compression, Encoding, PackedEntry};
pub use description::{DescriptionError, ModelDescription};
pub use folder::MODEL as MODEL_FILE;
pub use load::{Found, LoadError, Skipped, is_checkpoint, latest_good, load, load_model};
pub use manifest::{CHECKPOINT_SCHEMA, FileEntry, Manifest, Meta, WorkerPlace};
pub use tensors::TensorError;
pub use write::{WriteError, Written, write, write_compressed};

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

/// What a checkpoint holds for a prediction, in memory.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainedModel {
    pub meta: Meta,
    pub model: ModelDescription,
    /// The whole arena, with its padding; restored if the checkpoint is compressed.
    pub params: Vec<f32>,
    pub compression: Option<Compression>,
}

/// Checkpoints that are kept unless the caller says otherwise: the newest, and two to fall back to.
pub const KEEP: usize = 3;

#[cfg(test)]
mod tests;
