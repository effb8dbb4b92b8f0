//! Links that delay, reorder, lose and repeat, and what can break.
//!
//! The transport above them is QUIC's: what is lost is sent again, what is repeated is dropped. A stream keeps
//! the order; segments do not need it, because those of one peer may travel in several lanes.

use hcrun_protocol::{Prng, Span};

/// One direction between two nodes. Probabilities are between 0 and 1.
#[derive(Debug, Clone, PartialEq)]
pub struct Link {
    pub delay: Span,
    /// Up to this much more, evenly: more than the gap between two messages reorders them.
    pub jitter: Span,
    pub loss: f64,
    pub repeat: f64,
    /// After this long without an acknowledgement a message is sent again.
    pub resend_after: Span,
    /// Messages arrive in the order in which they were sent.
    pub in_order: bool,
}

/// Something that breaks for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The node stops. Its peers notice after `noticed_after`, or never.
    Crash { node: usize, noticed_after: Option<Span> },
    /// Nothing passes between the two nodes any more, in either direction.
    Cut { between: (usize, usize), noticed_after: Option<Span> },
}

impl Link {
    /// How long after sending the copies of a message arrive.
    pub(crate) fn arrivals(&self, prng: &mut Prng) -> Vec<Span> {
        let mut sent_after = Span(0);
        // A bound on resending, far beyond what any sensible loss needs.
        for _ in 0..64 {
            if prng.uniform() >= self.loss {
                break;
            }
            sent_after = sent_after + self.resend_after;
        }
        let copies = if prng.uniform() < self.repeat { 2 } else { 1 };
        (0..copies).map(|_| sent_after + self.delay + Span(prng.below(self.jitter.0 + 1))).collect()
    }
}
