//! Values that round: whatever carries them, the bits are the same.

use hcrun_kernels::host_buffers::HostBuffers;
use hcrun_net::collective::Options;
use hcrun_protocol::Prng;
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
