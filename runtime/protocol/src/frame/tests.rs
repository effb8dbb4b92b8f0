use proptest::prelude::*;

use super::*;

fn header(payload: &[u8]) -> SegmentHeader {
    SegmentHeader {
        class: FrameClass::GradientSum,
        job: JobId(0x0123_4567_89ab_cdef),
        generation: Generation(3),
        attempt: 1,
        source: Rank(2),
        round: 7,
        step: Step(42),
        offset: 1024,
        elems: u32::try_from(payload.len() / 4).unwrap(),
        dtype: DType::F32,
        codec: Codec::None,
        op: ReduceOp::Sum,
        phase: Phase(1),
        coverage: Coverage::Complete,
        schedule: 0xfeed,
    }
}

/// A header whose checksum is right, whatever else is wrong with it.
fn sealed(mut bytes: [u8; HEADER_BYTES]) -> [u8; HEADER_BYTES] {
    let checksum = crc32c::crc32c(&bytes[..60]);
    bytes[60..].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

#[test]
fn the_layout_is_pinned() {
    let bytes = header(&[0; 8]).encode();
    assert_eq!(bytes[..4], *b"hc\x02\x02");
    assert_eq!(bytes[4..12], 0x0123_4567_89ab_cdef_u64.to_le_bytes());
    assert_eq!(bytes[12..24], [3, 0, 0, 0, 1, 0, 2, 0, 7, 0, 0, 0]);
    assert_eq!(bytes[24..40], [42, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0]);
    assert_eq!(bytes[40..56], [2, 0, 0, 0, 8, 0, 0, 0, 1, 1, 0, 0, 1, 3, 0, 0]);
    assert_eq!(bytes[56..60], [0xed, 0xfe, 0, 0]);
    assert_eq!(bytes, sealed(bytes));
}

#[test]
fn unknown_values_are_refused_by_name() {
    let wrong = [
        (3, 99, "class"),
        (48, 99, "dtype"),
        (49, 99, "codec"),
        (50, 99, "block"),
        (53, 31, "operation"),
        (54, 1, "flags"),
    ];
    for (at, value, field) in wrong {
        let mut bytes = header(&[0; 8]).encode();
        bytes[at] = value;
        match SegmentHeader::decode(&sealed(bytes), 1 << 20) {
            Err(FrameError::Unknown { field: got, .. }) => assert_eq!(got, field),
            other => panic!("byte {at}: {other:?}"),
        }
    }
    let mut bytes = header(&[0; 8]).encode();
    bytes[2] = 1;
    assert_eq!(SegmentHeader::decode(&sealed(bytes), 1 << 20), Err(FrameError::Version { got: 1 }));
}

#[test]
fn a_payload_is_bounded_before_anybody_allocates_it() {
    let bytes = header(&[0; 4096]).encode();
    let refused = FrameError::TooLarge { got: 4096, limit: 4095 };
    assert_eq!(SegmentHeader::decode(&bytes, 4095), Err(refused));
    assert!(SegmentHeader::decode(&bytes, 4096).is_ok());

    let mut announced = bytes;
    announced[44] = 4;
    let error = SegmentHeader::decode(&sealed(announced), 1 << 20).unwrap_err();
    assert!(matches!(error, FrameError::Length { .. }), "{error}");

    let mut beyond = bytes;
    beyond[32..40].fill(0xff);
    let error = SegmentHeader::decode(&sealed(beyond), 1 << 20).unwrap_err();
    assert!(matches!(error, FrameError::Range { .. }), "{error}");
}

proptest! {
    #[test]
    fn headers_read_back(
        offset in 0u64..1 << 40,
        elems in 0u32..1 << 20,
        phase: u8,
        step: u64,
        dtype in prop::sample::select(&DType::ALL[..]),
        codec in prop::sample::select(&Codec::ALL[..]),
        op in prop::sample::select(&ReduceOp::ALL[..]),
    ) {
        let mut header = header(&[]);
        header.elems = elems;
        header.offset = offset;
        header.phase = Phase(phase);
        header.step = Step(step);
        (header.dtype, header.codec, header.op) = (dtype, codec, op);
        prop_assert_eq!(SegmentHeader::decode(&header.encode(), 1 << 23), Ok(header));
    }

    #[test]
    fn any_bytes_are_survived(bytes in any::<[u8; 32]>(), more in any::<[u8; 32]>(), start in 0usize..4) {
        let mut frame = [0; HEADER_BYTES];
        frame[..32].copy_from_slice(&bytes);
        frame[32..].copy_from_slice(&more);
        // Random bytes alone never get past the magic, version and checksum: also start from right ones.
        frame[..start].copy_from_slice(&[b'h', b'c', VERSION][..start]);
        let decoded = SegmentHeader::decode(&sealed(frame), 1 << 24);
        if let Ok(header) = decoded {
            prop_assert_eq!(header.encode(), sealed(frame));
        }
    }

    #[test]
    fn a_flipped_bit_is_refused(bit in 0usize..HEADER_BYTES * 8) {
        let mut bytes = header(&[7; 32]).encode();
        bytes[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(SegmentHeader::decode(&bytes, 1 << 20).is_err());
    }

    #[test]
    fn a_truncated_payload_is_refused(len in 0usize..32) {
        let header = header(&[7; 32]);
        let expected = FrameError::PayloadLength { got: len, expected: 32 };
        prop_assert_eq!(header.check_payload(&[7; 32][..len]), Err(expected));
    }
}
