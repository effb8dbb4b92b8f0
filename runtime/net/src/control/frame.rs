//! Frames of a control link: kind u8, length u32 little-endian, then as many bytes.

use bytes::{Bytes, BytesMut};

/// Longest message.
pub const MESSAGE_LIMIT: usize = 1 << 20;
/// Longest payload of a segment, without its header.
pub const SEGMENT_LIMIT: usize = 16 << 20;

/// Bytes of a segment's header, which travels as the first part of the frame.
pub(crate) const SEGMENT_HEADER_BYTES: usize = 64;
/// Kind and length.
pub(crate) const PREFIX_BYTES: usize = 5;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    Message(Bytes),
    Segment { header: [u8; SEGMENT_HEADER_BYTES], payload: Bytes },
}

/// What is wrong with a frame: the sender's fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    #[error("unknown frame kind {0}")]
    Kind(u8),
    #[error("a message of {got} bytes exceeds the limit of {limit}")]
    MessageTooLarge { got: usize, limit: usize },
    #[error("a segment of {got} bytes exceeds the limit of {limit}")]
    SegmentTooLarge { got: usize, limit: usize },
    #[error("a segment frame of {got} bytes is shorter than its header of {SEGMENT_HEADER_BYTES}")]
    SegmentTooShort { got: usize },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Message = 1,
    Segment = 2,
}

/// Puts frames together from chunks of any size; holds at most one frame and the rest of a chunk.
#[derive(Debug, Default)]
pub(crate) struct Assembler {
    buffer: BytesMut,
}

impl Assembler {
    pub(crate) fn push(&mut self, chunk: &[u8]) {
        self.buffer.extend_from_slice(chunk);
    }

    /// The next whole frame. The announced length is checked as soon as its five bytes are here; memory
    /// grows with what arrives, never with what is announced.
    pub(crate) fn next(&mut self) -> Result<Option<Frame>, FrameError> {
        let Some(prefix) = self.buffer.first_chunk::<PREFIX_BYTES>() else { return Ok(None) };
        let (kind, length) = parse_prefix(*prefix)?;
        if self.buffer.len() < PREFIX_BYTES + length {
            return Ok(None);
        }
        let mut frame = self.buffer.split_to(PREFIX_BYTES + length).split_off(PREFIX_BYTES);
        Ok(Some(match kind {
            Kind::Message => Frame::Message(frame.freeze()),
            Kind::Segment => {
                let payload = frame.split_off(SEGMENT_HEADER_BYTES).freeze();
                let header = frame.as_ref().try_into().expect("64 bytes: parse_prefix");
                Frame::Segment { header, payload }
            }
        }))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }
}

/// Bounds what is held besides the frame in the making.
pub(crate) const READ_BYTES: usize = 64 << 10;

fn parse_prefix([kind, length @ ..]: [u8; PREFIX_BYTES]) -> Result<(Kind, usize), FrameError> {
    let length = usize::try_from(u32::from_le_bytes(length)).expect("32 bits fit a usize");
    match kind {
        1 => check_message(length).map(|()| (Kind::Message, length)),
        2 if length < SEGMENT_HEADER_BYTES => Err(FrameError::SegmentTooShort { got: length }),
        2 => check_segment(length - SEGMENT_HEADER_BYTES).map(|()| (Kind::Segment, length)),
        other => Err(FrameError::Kind(other)),
    }
}

fn check_message(got: usize) -> Result<(), FrameError> {
    if got <= MESSAGE_LIMIT { Ok(()) } else { Err(FrameError::MessageTooLarge { got, limit: MESSAGE_LIMIT }) }
}

fn check_segment(got: usize) -> Result<(), FrameError> {
    if got <= SEGMENT_LIMIT { Ok(()) } else { Err(FrameError::SegmentTooLarge { got, limit: SEGMENT_LIMIT }) }
}

/// The frame of a message, in one piece.
pub(crate) fn message(message: &[u8]) -> Result<Bytes, FrameError> {
    check_message(message.len())?;
    let mut frame = BytesMut::with_capacity(PREFIX_BYTES + message.len());
    frame.extend_from_slice(&prefix(Kind::Message, message.len()));
    frame.extend_from_slice(message);
    Ok(frame.freeze())
}

/// The frame of a segment up to its payload, which follows as it is.
pub(crate) fn segment_head(
    header: &[u8; SEGMENT_HEADER_BYTES],
    payload: &Bytes,
) -> Result<Bytes, FrameError> {
    check_segment(payload.len())?;
    let mut head = BytesMut::with_capacity(PREFIX_BYTES + SEGMENT_HEADER_BYTES);
    head.extend_from_slice(&prefix(Kind::Segment, SEGMENT_HEADER_BYTES + payload.len()));
    head.extend_from_slice(header);
    Ok(head.freeze())
}

fn prefix(kind: Kind, length: usize) -> [u8; PREFIX_BYTES] {
    let length = u32::try_from(length).expect("at most 16 MiB and a header: checked").to_le_bytes();
    [kind as u8, length[0], length[1], length[2], length[3]]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(bytes: &[u8], step: usize) -> Result<Vec<Frame>, FrameError> {
        let mut assembler = Assembler::default();
        let mut frames = Vec::new();
        for chunk in bytes.chunks(step) {
            assembler.push(chunk);
            while let Some(frame) = assembler.next()? {
                frames.push(frame);
            }
        }
        assert!(assembler.is_empty());
        Ok(frames)
    }

    #[test]
    fn frames_survive_any_cut() {
        let payload = Bytes::from(vec![7u8; 300]);
        let mut bytes = message(b"hello").unwrap().to_vec();
        bytes.extend_from_slice(&segment_head(&[3; 64], &payload).unwrap());
        bytes.extend_from_slice(&payload);
        bytes.extend_from_slice(&message(b"").unwrap());
        for step in 1..bytes.len() {
            let frames = all(&bytes, step).unwrap();
            assert_eq!(
                frames,
                [
                    Frame::Message(Bytes::from_static(b"hello")),
                    Frame::Segment { header: [3; 64], payload: payload.clone() },
                    Frame::Message(Bytes::new()),
                ]
            );
        }
    }

    #[test]
    fn a_length_is_refused_before_the_bytes_come() {
        let announce = |kind: u8, length: u32| {
            let mut assembler = Assembler::default();
            assembler.push(&[&[kind][..], &length.to_le_bytes()].concat());
            assembler.next()
        };
        let limit = u32::try_from(MESSAGE_LIMIT).unwrap();
        assert_eq!(announce(1, limit), Ok(None));
        assert!(matches!(announce(1, limit + 1), Err(FrameError::MessageTooLarge { .. })));
        assert!(matches!(announce(1, u32::MAX), Err(FrameError::MessageTooLarge { .. })));
        assert!(matches!(announce(2, u32::MAX), Err(FrameError::SegmentTooLarge { .. })));
        assert_eq!(announce(2, 63), Err(FrameError::SegmentTooShort { got: 63 }));
        assert_eq!(announce(0, 1), Err(FrameError::Kind(0)));
    }

    #[test]
    fn what_would_be_refused_is_not_sent() {
        assert!(message(&vec![0; MESSAGE_LIMIT + 1]).is_err());
        assert!(segment_head(&[0; 64], &Bytes::from(vec![0; SEGMENT_LIMIT + 1])).is_err());
    }
}
