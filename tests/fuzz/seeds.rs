//! Writes the first corpus anew: `HCRUN_BLESS=1 cargo test -p hcrun-tests --test fuzz seeds`.

use std::env;
use std::fs;
use std::path::Path;

use hcrun_protocol::dtype::{Codec, DType, ReduceOp};
use hcrun_protocol::frame::{FrameClass, SegmentHeader};
use hcrun_protocol::schedule::{Coverage, Phase};
use hcrun_protocol::{Generation, JobId, Rank, Step};

fn header(dtype: DType, codec: Codec, elems: u32) -> SegmentHeader {
    SegmentHeader {
        class: FrameClass::GradientSum,
        job: JobId(7),
        generation: Generation(3),
        attempt: 1,
        source: Rank(2),
        round: 77,
        step: Step(42),
        offset: 1_024,
        elems,
        dtype,
        codec,
        op: ReduceOp::Sum,
        phase: Phase(1),
        coverage: Coverage::Complete,
        schedule: 0xfeed,
    }
}

/// A header with some bytes changed; the target puts the checksum right.
fn changed(at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut encoded = header(DType::F32, Codec::None, 64).encode().to_vec();
    encoded[at..at + bytes.len()].copy_from_slice(bytes);
    encoded
}

fn seeds() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let plain = |dtype, codec, elems| header(dtype, codec, elems).encode().to_vec();
    // Collective, algorithm, ranks of both zones less one and as many, me, elements, segment.
    let direct = [0, 1, 2, 0, 1, 200, 0, 49];
    let ring = [0, 0, 2, 0, 0, 200, 0, 99];
    let zoned = [0, 3, 1, 2, 2, 44, 1, 60];
    let gather = [2, 1, 3, 0, 0, 255, 0, 30];
    // Ready, then everything that is awaited, and an answer to everything.
    let mut whole: Vec<u8> = vec![0];
    for index in 0..60 {
        whole.extend([2, index, 0, 5, 0, 0, 6, 1, 0]);
    }
    let program = |shape: [u8; 8], inputs: &[u8]| [&shape[..], inputs].concat();
    vec![
        ("frames", "empty", Vec::new()),
        ("frames", "whole", plain(DType::F32, Codec::None, 64)),
        ("frames", "no-elements", plain(DType::U8, Codec::None, 0)),
        ("frames", "int4-with-a-half-byte", plain(DType::F32, Codec::Int4, 129)),
        ("frames", "int8-block", plain(DType::F32, Codec::Int8, 256)),
        ("frames", "two-bytes-an-element", plain(DType::Bf16, Codec::None, 33)),
        ("frames", "cut-short", plain(DType::F32, Codec::None, 64)[..63].to_vec()),
        ("frames", "another-magic", changed(0, b"hd")),
        ("frames", "another-version", changed(2, &[1])),
        ("frames", "unknown-class", changed(3, &[99])),
        ("frames", "end-beyond-64-bits", changed(32, &[0xff; 8])),
        ("frames", "payload-longer-than-elements", changed(44, &[0xff, 0xff, 0, 0])),
        ("frames", "payload-of-4-gib", changed(40, &[0xff; 8])),
        ("frames", "integers-packed-as-int8", changed(48, &[5, 4])),
        ("frames", "unknown-flags", changed(52, &[0xff; 4])),
        ("rounds", "direct-to-the-end", program(direct, &whole)),
        ("rounds", "ring-to-the-end", program(ring, &whole)),
        ("rounds", "zoned-to-the-end", program(zoned, &whole)),
        ("rounds", "gather-to-the-end", program(gather, &whole)),
        ("rounds", "no-elements", program([0, 2, 2, 0, 0, 0, 0, 9], &whole)),
        ("rounds", "one-rank", program([0, 1, 0, 0, 0, 20, 0, 9], &whole)),
        ("rounds", "a-segment-twice", program(direct, &[0, 2, 0, 0, 2, 0, 0])),
        ("rounds", "a-segment-of-no-schedule", program(direct, &[0, 4, 3, 0, 5, 0, 1, 1])),
        ("rounds", "aborted", program(direct, &[0, 7, 0, 2])),
        ("rounds", "too-late", program(direct, &[0, 15, 255, 15, 255, 15, 255, 15, 255, 15, 255])),
        ("rounds", "never-ready", program(ring, &[2, 0, 0, 2, 1, 0, 2, 2, 0])),
        // Type, operation, elements, place, terms with codecs, range, exactness, pieces; then the payload.
        (
            "buffers",
            "f32-sum",
            vec![0, 0, 100, 0, 0, 1, 1, 0, 0, 0, 2, 90, 0, 1, 0, 0, 2, 7, 0, 33, 0, 1, 2, 3],
        ),
        (
            "buffers",
            "f32-average-out-of-place",
            vec![0, 1, 100, 0, 1, 2, 0, 1, 1, 4, 0, 2, 80, 0, 1, 0, 0, 1, 5, 0, 1, 3],
        ),
        (
            "buffers",
            "bf16-maximum",
            vec![3, 4, 50, 0, 0, 1, 0, 1, 0, 0, 2, 50, 0, 1, 0, 0, 1, 9, 0, 0x80, 0x7f],
        ),
        (
            "buffers",
            "u64-product-in-pieces",
            vec![9, 2, 30, 0, 0, 1, 1, 0, 0, 0, 2, 30, 0, 1, 0, 0, 3, 3, 0, 4, 0, 5, 0, 9],
        ),
        (
            "buffers",
            "int4-and-own",
            vec![0, 0, 200, 1, 0, 1, 2, 4, 0, 0, 0, 2, 129, 0, 1, 0, 0, 2, 1, 0, 67, 0, 9, 8],
        ),
        ("buffers", "int8-stored", vec![0, 0, 200, 1, 0, 0, 2, 3, 0, 1, 2, 44, 1, 1, 0, 0, 1, 2, 0, 7, 7, 7]),
        ("buffers", "integers-packed-as-f16", vec![4, 0, 20, 0, 0, 0, 2, 2, 0, 0, 2, 20, 0, 1, 0, 0, 0, 1]),
        ("buffers", "payload-too-short", vec![0, 0, 20, 0, 0, 0, 1, 0, 0, 2, 20, 0, 0, 79, 0, 0, 1]),
        ("buffers", "range-beyond-the-end", vec![0, 0, 20, 0, 0, 0, 1, 4, 0, 1, 1, 0, 0, 0]),
        ("buffers", "range-that-ends-before-it-begins", vec![0, 0, 20, 0, 0, 0, 1, 4, 0, 0, 1, 0, 0, 0]),
        ("buffers", "no-elements", vec![1, 0, 0, 0, 0, 1, 1, 0, 0, 0, 2, 0, 0, 1, 0, 0, 0]),
    ]
}

#[test]
fn seeds_are_in_the_corpus() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    let bless = env::var_os("HCRUN_BLESS").is_some();
    for (target, name, input) in seeds() {
        let path = corpus.join(target).join(name);
        if bless {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, &input).unwrap();
        }
        assert_eq!(fs::read(&path).ok(), Some(input), "{}: HCRUN_BLESS=1 writes it anew", path.display());
    }
}
