//! Values that round: whatever carries them, the bits are the same.

use hcrun_kernels::host_buffers::HostBuffers;
use hcrun_net::collective::Options;
use hcrun_protocol::Prng;
use hcrun_protocol::dtype::ReduceOp;
use hcrun_protocol::job::Algorithm;

use crate::ranks::{Comm, Ranks};
use crate::values::hash;

const ELEMS: usize = 20_011;

pub(crate) fn random(rank: usize, elems: usize) -> Vec<f32> {
    let mut prng = Prng::keyed(&[17, rank as u64]);
    #[expect(clippy::cast_possible_truncation, reason = "any float does")]
    let values = (0..elems).map(|_| (prng.normal() * (prng.normal() * 8.0).exp2()) as f32).collect();
    values
}

fn sum(rank: usize, comm: &Comm, options: &Options) -> u64 {
    let buffers = HostBuffers::new(random(rank, ELEMS));
    let result = comm.all_reduce(buffers, options).unwrap().wait().unwrap();
    hash(&result.into_vec::<f32>().unwrap())
}

#[test]
fn sums_have_the_same_bits_on_all_ranks_and_lanes_in_all_segments_algorithms_and_runs() {
    for count in [2, 3, 5, 8] {
        let mut hashes = Vec::new();
        for lanes in [1, 2, 4] {
            let ranks = Ranks::new(count, lanes);
            for algorithm in [Algorithm::Ring, Algorithm::Direct, Algorithm::OneShot] {
                for segment_bytes in [128, 64 << 10, 1 << 20] {
                    let small = segment_bytes == 128;
                    if small && (lanes == 2 || count > 5) {
                        continue;
                    }
                    let (algorithm, segment_bytes) = (Some(algorithm), Some(segment_bytes));
                    let options = Options { algorithm, segment_bytes, ..Options::default() };
                    for _ in 0..2 {
                        hashes.extend(ranks.each(|rank, comm| sum(rank, comm, &options)));
                    }
                }
            }
        }
        assert!(hashes.iter().all(|hash| *hash == hashes[0]), "{count} ranks: {hashes:x?}");
    }
}

/// Any two of them meet somewhere, and any three.
fn special(rank: usize) -> Vec<f32> {
    const VALUES: [f32; 8] = [0.0, -0.0, 1.5, -1e-45, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, f32::MAX];
    (0..3 * 512).map(|index| VALUES[(index >> (3 * rank)) % 8]).collect()
}

#[test]
fn zeros_denormals_infinities_and_nan_are_what_a_plain_loop_makes_of_them() {
    let ranks = Ranks::new(3, 2);
    for op in ReduceOp::ALL {
        let add = |a: f32, b: f32| match op {
            ReduceOp::Sum | ReduceOp::Average => a + b,
            ReduceOp::Product => a * b,
            // Of zeros the negative one is less, and NaN stays: unlike `f32::min`.
            _ if a.is_nan() || b.is_nan() => f32::NAN,
            ReduceOp::Min => {
                if a.total_cmp(&b).is_lt() {
                    a
                } else {
                    b
                }
            }
            ReduceOp::Max => {
                if a.total_cmp(&b).is_gt() {
                    a
                } else {
                    b
                }
            }
        };
        let mut hashes = Vec::new();
        for algorithm in [Algorithm::Ring, Algorithm::Direct, Algorithm::OneShot] {
            let options =
                Options { algorithm: Some(algorithm), segment_bytes: Some(512), ..Options::default() };
            let results = ranks.each(|rank, comm| {
                let buffers = HostBuffers::new(special(rank)).op(op);
                comm.all_reduce(buffers, &options).unwrap().wait().unwrap().into_vec::<f32>().unwrap()
            });
            hashes.extend(results.iter().map(|result| hash(result)));
            for (index, got) in results[0].iter().enumerate() {
                // From the owner's successor round to the owner: the order counts where a sum overflows.
                let turns = (0..3).map(|first| {
                    let values = (0..3).map(|place| special((first + place) % 3)[index]);
                    let total = values.reduce(add).unwrap();
                    if op == ReduceOp::Average { total / 3.0 } else { total }
                });
                let same = |turn: f32| turn.to_bits() == got.to_bits() || turn.is_nan() && got.is_nan();
                assert!(turns.clone().any(same), "{op:?}, {algorithm:?}, {index}: {got} of {turns:?}");
            }
        }
        assert!(hashes.iter().all(|hash| *hash == hashes[0]), "{op:?}: {hashes:x?}");
    }
}
