//! The header of a segment on the wire: 64 bytes, little-endian, self-describing.
//!
//! A frame is this header and `payload_bytes` bytes. Every field is checked before a payload is allocated;
//! an unknown value is an error that closes the link, because a mixed fleet must not guess. The class says
//! what may cross a zone border: [`FrameClass`] is closed, and none of it carries data rows. Payloads have no
//! checksum: QUIC authenticates every packet (docs/adr/0012-no-payload-checksum.md).
//!
//! | offset | field | | offset | field |
//! |---|---|---|---|---|
//! | 0 | magic u16 | | 32 | offset u64, in elements |
//! | 2 | version u8 | | 40 | elems u32 |
//! | 3 | class u8 | | 44 | payload bytes u32 |
//! | 4 | job u64 | | 48 | dtype u8 |
//! | 12 | generation u32 | | 49 | codec u8 |
//! | 16 | attempt u16 | | 50 | block u16, in elements; 0 without blocks |
//! | 18 | source rank u16 | | 52 | flags u32: phase, coverage, operation |
//! | 20 | round (tag) u32 | | 56 | schedule u32 |
//! | 24 | step u64 | | 60 | CRC-32C of bytes 0..60 |

use serde::{Deserialize, Serialize};

use crate::dtype::{Codec, DType, ReduceOp};
use crate::ids::{Generation, JobId, Rank, Step};
use crate::schedule::{Coverage, Phase};

pub const HEADER_BYTES: usize = 64;

/// "hc" in the order of the wire.
const MAGIC: u16 = u16::from_le_bytes(*b"hc");
const VERSION: u8 = 2;
/// Flags: the phase, one bit for the coverage, four for the operation.
const PHASE_MASK: u32 = 0xff;
const COMPLETE_FLAG: u32 = 1 << 8;
const OP_SHIFT: u32 = 9;
const OP_MASK: u32 = 0xf << OP_SHIFT;

/// What a frame carries. Closed: what is not listed cannot cross a border, and a new class is a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FrameClass {
    /// One worker's gradient or an incomplete sum; never crosses a zone border.
    Gradient,
    /// A gradient summed over all workers of the sender's zone.
    GradientSum,
    /// Parameters, and norms of chunks.
    Parameters,
    /// Count, sum and sum of squares per numeric column.
    Statistics,
    /// Sums on the allow-list: loss, weight, counts.
    Metrics,
    /// Membership and progress.
    Control,
}

impl FrameClass {
    pub const ALL: [FrameClass; 6] = [
        FrameClass::Gradient,
        FrameClass::GradientSum,
        FrameClass::Parameters,
        FrameClass::Statistics,
        FrameClass::Metrics,
        FrameClass::Control,
    ];

    /// Checked by sender and receiver alike.
    pub fn may_cross_border(self) -> bool {
        self != FrameClass::Gradient
    }

    /// The name in plans, ledgers and reports.
    pub fn name(self) -> &'static str {
        match self {
            FrameClass::Gradient => "gradient",
            FrameClass::GradientSum => "gradient-sum",
            FrameClass::Parameters => "parameters",
            FrameClass::Statistics => "statistics",
            FrameClass::Metrics => "metrics",
            FrameClass::Control => "control",
        }
    }

    pub const fn code(self) -> u8 {
        match self {
            FrameClass::Gradient => 1,
            FrameClass::GradientSum => 2,
            FrameClass::Parameters => 3,
            FrameClass::Statistics => 4,
            FrameClass::Metrics => 5,
            FrameClass::Control => 6,
        }
    }

    pub fn from_code(code: u8) -> Option<FrameClass> {
        FrameClass::ALL.into_iter().find(|class| class.code() == code)
    }
}

/// One segment's header. The payload's length follows from `elems`, `dtype` and `codec`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentHeader {
    pub class: FrameClass,
    pub job: JobId,
    pub generation: Generation,
    pub attempt: u16,
    pub source: Rank,
    /// The round's tag, unique within a step.
    pub round: u32,
    pub step: Step,
    /// First element of the range in the round's buffer.
    pub offset: u64,
    pub elems: u32,
    pub dtype: DType,
    pub codec: Codec,
    pub op: ReduceOp,
    pub phase: Phase,
    pub coverage: Coverage,
    /// The digest of the schedule that the sender follows; 0 without one.
    pub schedule: u32,
}

/// A header that is refused: the peer's fault, the link closes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    #[error("header checksum is {got:#010x}, computed {computed:#010x}")]
    HeaderChecksum { got: u32, computed: u32 },
    #[error("no segment header: magic is {got:#06x}")]
    Magic { got: u16 },
    #[error("segment header of version {got}, this build speaks version {VERSION}")]
    Version { got: u8 },
    #[error("{field} has the unknown value {got}")]
    Unknown { field: &'static str, got: u32 },
    #[error("frame of {got} bytes exceeds the limit of {limit}")]
    TooLarge { got: usize, limit: usize },
    #[error("a payload of {got} bytes was announced for {elems} elements of {dtype:?} packed as `{codec}`")]
    Length { got: usize, elems: u32, dtype: DType, codec: Codec },
    #[error("the range {offset}..{offset}+{elems} does not fit in 64 bits")]
    Range { offset: u64, elems: u32 },
    #[error("payload of {got} bytes where the header says {expected}")]
    PayloadLength { got: usize, expected: usize },
}

impl SegmentHeader {
    pub fn payload_bytes(&self) -> usize {
        let elems = usize::try_from(self.elems);
        elems.map_or(usize::MAX, |elems| self.codec.payload_bytes(self.dtype, elems))
    }

    /// The range of the round's buffer; none where it lies outside this machine's address space.
    pub fn range(&self) -> Option<std::ops::Range<usize>> {
        let start = usize::try_from(self.offset).ok()?;
        let elems = usize::try_from(self.elems).ok()?;
        Some(start..start.checked_add(elems)?)
    }

    /// # Panics
    /// If the payload is 4 GiB or longer; segments are capped far below.
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let payload_bytes = u32::try_from(self.payload_bytes()).expect("segments are capped far below 4 GiB");
        let coverage = match self.coverage {
            Coverage::Partial => 0,
            Coverage::Complete => COMPLETE_FLAG,
        };
        let mut out = Writer { bytes: [0; HEADER_BYTES], at: 0 };
        out.put(MAGIC.to_le_bytes());
        out.put([VERSION, self.class.code()]);
        out.put(self.job.0.to_le_bytes());
        out.put(self.generation.0.to_le_bytes());
        out.put(self.attempt.to_le_bytes());
        out.put(self.source.0.to_le_bytes());
        out.put(self.round.to_le_bytes());
        out.put(self.step.0.to_le_bytes());
        out.put(self.offset.to_le_bytes());
        out.put(self.elems.to_le_bytes());
        out.put(payload_bytes.to_le_bytes());
        out.put([self.dtype.code(), self.codec.code()]);
        out.put(block(self.codec).to_le_bytes());
        let op = u32::from(self.op.code()) << OP_SHIFT;
        out.put((u32::from(self.phase.0) | coverage | op).to_le_bytes());
        out.put(self.schedule.to_le_bytes());
        let checksum = crc32c::crc32c(&out.bytes[..out.at]);
        out.put(checksum.to_le_bytes());
        out.bytes
    }

    /// Reads a header that a peer sent. `payload_limit` in bytes is what this side accepts.
    pub fn decode(bytes: &[u8; HEADER_BYTES], payload_limit: usize) -> Result<SegmentHeader, FrameError> {
        let mut input = Reader { bytes, at: 0 };
        let computed = crc32c::crc32c(&bytes[..HEADER_BYTES - 4]);
        let magic = u16::from_le_bytes(input.take());
        let [version, class] = input.take();
        let job = JobId(u64::from_le_bytes(input.take()));
        let generation = Generation(u32::from_le_bytes(input.take()));
        let attempt = u16::from_le_bytes(input.take());
        let source = Rank(u16::from_le_bytes(input.take()));
        let round = u32::from_le_bytes(input.take());
        let step = Step(u64::from_le_bytes(input.take()));
        let offset = u64::from_le_bytes(input.take());
        let elems = u32::from_le_bytes(input.take());
        let payload_bytes = u32::from_le_bytes(input.take());
        let [dtype, codec] = input.take();
        let its_block = u16::from_le_bytes(input.take());
        let flags = u32::from_le_bytes(input.take());
        let schedule = u32::from_le_bytes(input.take());
        let got = u32::from_le_bytes(input.take());

        if magic != MAGIC {
            return Err(FrameError::Magic { got: magic });
        }
        if version != VERSION {
            return Err(FrameError::Version { got: version });
        }
        if got != computed {
            return Err(FrameError::HeaderChecksum { got, computed });
        }
        let unknown = |field, got| move || FrameError::Unknown { field, got };
        let class = FrameClass::from_code(class).ok_or_else(unknown("class", class.into()))?;
        let dtype = DType::from_code(dtype).ok_or_else(unknown("dtype", dtype.into()))?;
        let codec = Codec::from_code(codec).ok_or_else(unknown("codec", codec.into()))?;
        if its_block != block(codec) {
            return Err(FrameError::Unknown { field: "block", got: its_block.into() });
        }
        let [phase, ..] = (flags & PHASE_MASK).to_le_bytes();
        let [op, ..] = ((flags & OP_MASK) >> OP_SHIFT).to_le_bytes();
        let op = ReduceOp::from_code(op).ok_or_else(unknown("operation", op.into()))?;
        let coverage = match flags & !PHASE_MASK & !OP_MASK {
            0 => Coverage::Partial,
            COMPLETE_FLAG => Coverage::Complete,
            _ => return Err(FrameError::Unknown { field: "flags", got: flags }),
        };
        let header = SegmentHeader {
            class,
            job,
            generation,
            attempt,
            source,
            round,
            step,
            offset,
            elems,
            dtype,
            codec,
            op,
            phase: Phase(phase),
            coverage,
            schedule,
        };
        let announced = usize::try_from(payload_bytes).unwrap_or(usize::MAX);
        if announced > payload_limit {
            return Err(FrameError::TooLarge { got: announced, limit: payload_limit });
        }
        if announced != header.payload_bytes() {
            return Err(FrameError::Length { got: announced, elems, dtype, codec });
        }
        if header.range().is_none() {
            return Err(FrameError::Range { offset, elems });
        }
        Ok(header)
    }

    /// Checks a payload whose length was not taken from this header.
    pub fn check_payload(&self, payload: &[u8]) -> Result<(), FrameError> {
        let (got, expected) = (payload.len(), self.payload_bytes());
        if got == expected { Ok(()) } else { Err(FrameError::PayloadLength { got, expected }) }
    }
}

/// The block of a codec as it stands in a header.
fn block(codec: Codec) -> u16 {
    match codec.block_elems() {
        1 => 0,
        elems => u16::try_from(elems).expect("blocks of a few hundred elements"),
    }
}

struct Writer {
    bytes: [u8; HEADER_BYTES],
    at: usize,
}

impl Writer {
    fn put<const N: usize>(&mut self, field: [u8; N]) {
        self.bytes[self.at..self.at + N].copy_from_slice(&field);
        self.at += N;
    }
}

struct Reader<'a> {
    bytes: &'a [u8; HEADER_BYTES],
    at: usize,
}

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let mut field = [0; N];
        field.copy_from_slice(&self.bytes[self.at..self.at + N]);
        self.at += N;
        field
    }
}

#[cfg(test)]
mod tests;
