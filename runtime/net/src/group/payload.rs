//! A payload as it came: slices of the packets that carried it, without a copy.

use bytes::Bytes;

/// Pieces in order. A slice keeps its whole packet in memory, so short ones are copied: what a payload pins
/// is at most a few times its length, whatever its sender does.
#[derive(Debug, Default)]
pub(super) struct Payload {
    pieces: Vec<Bytes>,
    /// Short pieces that came after `pieces`.
    tail: Vec<u8>,
    len: usize,
}

/// A full packet of the internet is longer.
const SHORT_PIECE_BYTES: usize = 1_024;

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
        for (byte, len) in [(1, 3), (2, 1_400), (3, 5), (4, 7), (5, 9_000), (6, 1_500), (7, 1)] {
            let piece = vec![byte; len];
            expected.extend_from_slice(&piece);
            payload.push(Bytes::from(piece));
        }
        assert_eq!(payload.len(), expected.len());
        let lengths: Vec<usize> = payload.pieces().iter().map(|piece| piece.len()).collect();
        assert_eq!(lengths, [3, 1_400, 12, 9_000, 1_500, 1]);
        assert_eq!(payload.pieces().concat(), expected);
    }
}
