//! A payload as it came: slices of the packets that carried it, the long ones without a copy.

use bytes::Bytes;

/// Pieces in order. A slice keeps alive what the socket read at once, up to 64 KiB of packets that came
/// together, so short ones are copied: what a payload pins is at most four times its length, whatever its
/// sender does.
#[derive(Debug, Default)]
pub(super) struct Payload {
    pieces: Vec<Bytes>,
    /// Short pieces that came after `pieces`.
    tail: Vec<u8>,
    len: usize,
}

/// A quarter of what a piece may pin. Only packets of loopback are longer.
const SHORT_PIECE_BYTES: usize = 16 << 10;

impl Payload {
    pub(super) fn push(&mut self, piece: Bytes) {
        self.len += piece.len();
        if piece.len() < SHORT_PIECE_BYTES {
            self.tail.extend_from_slice(&piece);
            return;
        }
        if !self.tail.is_empty() {
            self.pieces.push(Bytes::from(std::mem::take(&mut self.tail)));
        }
        self.pieces.push(piece);
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn pieces(&self) -> Vec<&[u8]> {
        let tail = Some(self.tail.as_slice()).filter(|tail| !tail.is_empty());
        self.pieces.iter().map(|piece| &**piece).chain(tail).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_pieces_are_copied_and_long_ones_are_not() {
        let mut payload = Payload::default();
        let mut expected = Vec::new();
        for (byte, len) in [(1, 3), (2, 40_000), (3, 1_400), (4, 7), (5, 60_000), (6, 16_384), (7, 16_383)] {
            let piece = vec![byte; len];
            expected.extend_from_slice(&piece);
            payload.push(Bytes::from(piece));
        }
        assert_eq!(payload.len(), expected.len());
        let lengths: Vec<usize> = payload.pieces().iter().map(|piece| piece.len()).collect();
        assert_eq!(lengths, [3, 40_000, 1_407, 60_000, 16_384, 16_383]);
        assert_eq!(payload.pieces().concat(), expected);
    }

    #[test]
    fn what_a_payload_pins_is_bounded_by_its_length() {
        // A train of packets that came together, of which a payload gets a little.
        let train = Bytes::from(vec![0; 64 << 10]);
        for piece in [1, 1_024, 1_452, 8_952] {
            let mut payload = Payload::default();
            payload.push(train.slice(..piece));
            assert!(payload.pieces.is_empty(), "{piece} bytes pin {}", train.len());
        }
    }
}
