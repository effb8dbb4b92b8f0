//! Lossy codecs: the same bits everywhere, errors within bounds.

use hcrun_kernels::host_buffers::{HostBuffers, Rounding};
use hcrun_net::collective::{CallError, Options};
use hcrun_protocol::Prng;
use hcrun_protocol::dtype::Codec;
use hcrun_protocol::job::Algorithm;

use crate::ranks::{Comm, Ranks};
use crate::values::hash;

const LOSSY: [Codec; 4] = [Codec::Bf16, Codec::F16, Codec::Int8, Codec::Int4];

/// The largest error of one rounding to nearest, as a share of the largest magnitude of a block: half a unit
/// in the last place of bf16 and f16; half a level of ±127 and of ±7, and the scale rounded to bf16.
fn unit(codec: Codec) -> f64 {
    match codec {
        Codec::None => 0.0,
        Codec::Bf16 => 1.0 / 256.0,
        Codec::F16 => 1.0 / 2_048.0,
        Codec::Int8 => 0.5 / 127.0 + 1.0 / 256.0,
        Codec::Int4 => 0.5 / 7.0 + 1.0 / 256.0,
    }
}

/// Between −1 and 1.
fn values(rank: usize, elems: usize) -> Vec<f32> {
    let mut prng = Prng::keyed(&[23, rank as u64]);
    #[expect(clippy::cast_possible_truncation, reason = "any float does")]
    let values = (0..elems).map(|_| (prng.uniform() * 2.0 - 1.0) as f32).collect();
    values
}

fn sum(rank: usize, comm: &Comm, elems: usize, rounding: Rounding, options: &Options) -> Vec<f32> {
    let buffers = HostBuffers::new(values(rank, elems)).rounding(rounding);
    comm.all_reduce(buffers, options).unwrap().wait().unwrap().into_vec().unwrap()
}

fn exact(count: usize, elems: usize) -> Vec<f64> {
    let given: Vec<Vec<f32>> = (0..count).map(|rank| values(rank, elems)).collect();
    (0..elems).map(|index| given.iter().map(|values| f64::from(values[index])).sum()).collect()
}

#[test]
fn all_ranks_hold_the_same_bits_within_the_bound() {
    for count in [2, 3, 7] {
        let ranks = Ranks::new(count, 2);
        for codec in LOSSY {
            for elems in [1, 127, 257, 5_000] {
                for algorithm in [Some(Algorithm::Direct), Some(Algorithm::OneShot), None] {
                    let case = format!("{count} ranks, {codec}, {elems} elements, {algorithm:?}");
                    let mut hashes = Vec::new();
                    // Any segments, twice.
                    for segment_bytes in [1 << 10, 1 << 10, 64 << 10] {
                        let segment_bytes = Some(segment_bytes);
                        let options = Options { codec, algorithm, segment_bytes, ..Options::default() };
                        let rounding = Rounding::Stochastic { key: 5 };
                        let results = ranks.each(|rank, comm| sum(rank, comm, elems, rounding, &options));
                        hashes.extend(results.iter().map(|result| hash(result)));
                        // Drawn rounding errs by up to a whole unit: once for each contribution of up to 1,
                        // and once for the sum of up to `count`.
                        let bound = 2.0 * unit(codec) * (2.5 * count as f64);
                        let pairs = results[0].iter().zip(exact(count, elems));
                        let error = pairs.map(|(got, exact)| (f64::from(*got) - exact).abs());
                        let largest = error.fold(0.0, f64::max);
                        assert!(largest <= bound, "{case}: {largest} > {bound}");
                    }
                    assert!(hashes.iter().all(|hash| *hash == hashes[0]), "{case}: {hashes:x?}");
                }
            }
        }
    }
}

/// Equal keys on all ranks would round alike, and errors would add up to N times one of them. Contributions
/// are alike here, so that nothing but the rank makes draws differ.
#[test]
fn rounding_errors_of_ranks_are_independent() {
    const ELEMS: usize = 8_192;
    let mean_square = |count: usize| {
        let ranks = Ranks::new(count, 1);
        let options =
            Options { codec: Codec::Int8, algorithm: Some(Algorithm::OneShot), ..Options::default() };
        let sums = ranks.each(|_, comm| {
            let buffers = HostBuffers::new(values(0, ELEMS)).rounding(Rounding::Stochastic { key: 9 });
            comm.all_reduce(buffers, &options).unwrap().wait().unwrap().into_vec::<f32>().unwrap()
        });
        let given = values(0, ELEMS);
        let square =
            |(sum, given): (&f32, &f32)| (f64::from(*sum) - count as f64 * f64::from(*given)).powi(2);
        sums[0].iter().zip(&given).map(square).sum::<f64>() / ELEMS as f64
    };
    // Variances of independent errors add: from 2 ranks to 8 it is 4-fold, where equal errors give 16-fold.
    let growth = mean_square(8) / mean_square(2);
    assert!((2.5..6.5).contains(&growth), "the mean square grows {growth:.1}-fold from 2 ranks to 8");
}

#[test]
fn what_would_round_more_than_once_is_refused() {
    let ranks = Ranks::new(2, 1);
    let comm = &ranks.communicators[0];
    let with = |codec, algorithm| Options { codec, algorithm, ..Options::default() };
    let ring = comm.all_reduce(HostBuffers::new(vec![1.0_f32]), &with(Codec::Int8, Some(Algorithm::Ring)));
    assert!(matches!(ring.err(), Some(CallError::Schedule(_))));
    let integers = comm.all_reduce(HostBuffers::new(vec![1_i32]), &with(Codec::Int8, None));
    assert!(matches!(integers.err(), Some(CallError::Codec { .. })));
}
