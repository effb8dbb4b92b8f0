//! Text as bytes: a head of training windows and a contiguous held-out tail.
//!
//! Windows do not overlap, and none of the training windows reaches into the tail, not even by its last
//! target.

use std::ops::Range;

use hcrun_protocol::split::{Split, held_out_bytes, text_split};

/// One shard of text.
#[derive(Debug)]
pub struct Text {
    bytes: Vec<u8>,
    /// Where the held-out tail begins.
    tail: usize,
    context: usize,
    counts: Split,
}

impl Text {
    pub fn new(bytes: Vec<u8>, held_out: f64, context: usize) -> Text {
        let len = bytes.len() as u64;
        let held = usize::try_from(held_out_bytes(len, held_out)).expect("at most the file's length");
        let counts = text_split(len, held_out, context as u64);
        Text { tail: bytes.len() - held, bytes, context, counts }
    }

    pub fn counts(&self) -> Split {
        self.counts
    }

    /// Inputs and targets of a training window: `context` bytes each, one apart.
    pub fn training_window(&self, index: usize) -> (&[u8], &[u8]) {
        let start = index * self.context;
        self.window(start..start + self.context)
    }

    /// Inputs and targets of a held-out window; the shard's last one may be short. Together they predict
    /// every held-out byte but the first, once.
    pub fn held_out_window(&self, index: usize) -> (&[u8], &[u8]) {
        let start = self.tail + index * self.context;
        self.window(start..(start + self.context).min(self.bytes.len() - 1))
    }

    fn window(&self, inputs: Range<usize>) -> (&[u8], &[u8]) {
        (&self.bytes[inputs.clone()], &self.bytes[inputs.start + 1..inputs.end + 1])
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn windows_are_one_apart() {
        let text = Text::new(b"abcdefghij".to_vec(), 0.3, 3);
        // Head `abcdefg`, tail `hij`.
        assert_eq!(text.counts(), Split { training: 2, held_out: 1 });
        assert_eq!(text.training_window(0), (&b"abc"[..], &b"bcd"[..]));
        assert_eq!(text.training_window(1), (&b"def"[..], &b"efg"[..]));
        assert_eq!(text.held_out_window(0), (&b"hi"[..], &b"ij"[..]));
    }

    proptest! {
        #[test]
        fn no_training_window_touches_the_tail(len in 0usize..2_000, held_out in 0.01f64..0.99, context in 1usize..70) {
            // Each position is its own value as far as a byte goes, so check by address.
            let text = Text::new(vec![0; len], held_out, context);
            let base = text.bytes.as_ptr() as usize;
            let mut predicted = vec![0u32; len];
            for index in 0..usize::try_from(text.counts().training).unwrap() {
                let (inputs, targets) = text.training_window(index);
                prop_assert_eq!(inputs.len(), context);
                prop_assert_eq!(targets.len(), context);
                prop_assert!(targets.as_ptr() as usize - base + context <= text.tail);
            }
            for index in 0..usize::try_from(text.counts().held_out).unwrap() {
                let (inputs, targets) = text.held_out_window(index);
                prop_assert!(inputs.as_ptr() as usize - base >= text.tail);
                let start = targets.as_ptr() as usize - base;
                predicted[start..start + targets.len()].iter_mut().for_each(|count| *count += 1);
            }
            prop_assert!(predicted.iter().skip(text.tail + 1).all(|count| *count == 1));
            prop_assert!(predicted.iter().take(text.tail + 1).all(|count| *count == 0));
        }
    }
}
