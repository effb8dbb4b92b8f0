//! Reading a payload that comes in pieces.

/// How far the pieces of one payload are read.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Position {
    piece: usize,
    offset: usize,
}

impl Position {
    /// The next bytes: where they lie if one piece has all of them, else gathered in `stage`.
    ///
    /// # Panics
    /// If the pieces end before: their total length is checked first.
    pub(super) fn take<'a>(
        &mut self,
        pieces: &[&'a [u8]],
        bytes: usize,
        stage: &'a mut [u8; STAGE_BYTES],
    ) -> &'a [u8] {
        let next = self.next(pieces, bytes);
        if next.len() == bytes {
            return next;
        }
        let (taken, rest) = stage[..bytes].split_at_mut(next.len());
        taken.copy_from_slice(next);
        self.fill(pieces, rest);
        &stage[..bytes]
    }

    /// Copies the next bytes.
    ///
    /// # Panics
    /// As [`Self::take`].
    pub(crate) fn fill(&mut self, pieces: &[&[u8]], mut into: &mut [u8]) {
        while !into.is_empty() {
            let from = self.next(pieces, into.len());
            let (filled, rest) = into.split_at_mut(from.len());
            filled.copy_from_slice(from);
            into = rest;
        }
    }

    /// As many whole units as the current piece has, up to `most` of them; a unit that is cut is gathered.
    pub(super) fn take_some<'a>(
        &mut self,
        pieces: &[&'a [u8]],
        (unit_bytes, most): (usize, usize),
        stage: &'a mut [u8; STAGE_BYTES],
    ) -> &'a [u8] {
        let uncut = self.rest(pieces).len() / unit_bytes;
        self.take(pieces, unit_bytes * uncut.clamp(1, most), stage)
    }

    /// Up to so many bytes, as the current piece has them.
    fn next<'a>(&mut self, pieces: &[&'a [u8]], bytes: usize) -> &'a [u8] {
        let piece = if bytes == 0 { &[] } else { self.rest(pieces) };
        let next = &piece[..bytes.min(piece.len())];
        self.offset += next.len();
        next
    }

    /// What is left of the current piece: never nothing.
    fn rest<'a>(&mut self, pieces: &[&'a [u8]]) -> &'a [u8] {
        while self.offset == pieces[self.piece].len() {
            *self = Position { piece: self.piece + 1, offset: 0 };
        }
        &pieces[self.piece][self.offset..]
    }
}

/// One block of the widest elements.
pub(super) const STAGE_BYTES: usize = super::reduction::BLOCK_ELEMS * size_of::<u64>();
