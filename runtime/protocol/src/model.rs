//! What planning needs to know of a model: its segments and costs. Comes from engine.

use serde::{Deserialize, Serialize};

/// One parameter tensor in the flat arena.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// PyTorch's name: `transformer.h.0.attn.c_attn.weight`.
    pub name: String,
    /// First element in the arena.
    pub offset: usize,
    /// Row-major shape; its product is the length.
    pub shape: Vec<usize>,
    /// Weight decay applies (matrices and embeddings).
    pub decay: bool,
}

impl Segment {
    pub fn elems(&self) -> usize {
        self.shape.iter().product()
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelProfile {
    pub segments: Vec<Segment>,
    /// Length of the arena: all segments and the zero padding to whole chunks.
    pub arena_elems: usize,
    /// Parameters without padding.
    pub parameters: usize,
    /// Multiply-adds counted as two, forward and backward, for one sample.
    pub flops_per_sample: f64,
    pub activation_bytes_per_sample: u64,
}
