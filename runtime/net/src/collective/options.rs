//! How a collective is run.

use hcrun_protocol::Span;
use hcrun_protocol::dtype::Codec;
use hcrun_protocol::job::Algorithm;

/// Equal on all ranks, but for the deadline and `preserve`.
#[derive(Debug, Clone)]
pub struct Options {
    /// Matches calls on different ranks, from 1 to 2²⁰ − 1; by default calls are matched by their order.
    /// A tag can be used again when its last collective was waited for.
    pub tag: Option<u32>,
    /// When it has not ended by then, it fails on this rank and by that on all. Default: 60 s.
    pub deadline: Span,
    /// By default chosen from length, ranks and links: see [`Choice`](hcrun_protocol::schedule::Choice).
    pub algorithm: Option<Algorithm>,
    /// How f32 values are packed. Each is rounded once on the way to the rank that adds them, and the sum
    /// once on the way back; all ranks still hold the same bits.
    pub codec: Codec,
    /// The unit that is pipelined; by default, and at most, the group's.
    pub segment_bytes: Option<usize>,
    /// Keeps a copy of the buffer, which [`Failed`](super::Failed) gives back. Without it a buffer in place
    /// is lost when its collective fails.
    pub preserve: bool,
    /// How many ranks a sum must cover before it crosses a zone border. Default: 2.
    pub min_contributors: usize,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            tag: None,
            deadline: Span::from_secs(60),
            algorithm: None,
            codec: Codec::None,
            segment_bytes: None,
            preserve: false,
            min_contributors: 2,
        }
    }
}

impl Options {
    /// The defaults, with a tag.
    pub fn tag(tag: u32) -> Options {
        Options { tag: Some(tag), ..Options::default() }
    }
}
