//! A header as it comes from a peer.

use hcrun_protocol::frame::{HEADER_BYTES, SegmentHeader};

const PAYLOAD_LIMIT: usize = 1 << 20;

/// The first 64 bytes as they are, and again with the right checksum, behind which fields are checked.
pub(crate) fn run(input: &[u8]) {
    let mut bytes = [0; HEADER_BYTES];
    let length = input.len().min(HEADER_BYTES);
    bytes[..length].copy_from_slice(&input[..length]);
    check(&bytes);
    let checksum = crc32c(&bytes[..HEADER_BYTES - 4]);
    bytes[HEADER_BYTES - 4..].copy_from_slice(&checksum.to_le_bytes());
    check(&bytes);
}

fn check(bytes: &[u8; HEADER_BYTES]) {
    let Ok(header) = SegmentHeader::decode(bytes, PAYLOAD_LIMIT) else { return };
    assert_eq!(&header.encode(), bytes, "what is read is what was written");
    assert!(header.payload_bytes() <= PAYLOAD_LIMIT, "no more is allocated than is accepted");
    if let Some(range) = header.range() {
        assert_eq!(range.len(), usize::try_from(header.elems).unwrap());
    }
}

/// Bit by bit: the table of the product is not asked about itself.
pub(crate) fn crc32c(bytes: &[u8]) -> u32 {
    const REVERSED_CASTAGNOLI: u32 = 0x82f6_3b78;
    let step = |crc: u32, _: u32| if crc & 1 == 1 { crc >> 1 ^ REVERSED_CASTAGNOLI } else { crc >> 1 };
    !bytes.iter().fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}
