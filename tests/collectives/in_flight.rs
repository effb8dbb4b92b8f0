//! Many collectives at once: tags in different orders, tags twice, handles that nobody waits for.

use std::sync::Mutex;

use hcrun_kernels::host_buffers::HostBuffers;
use hcrun_net::collective::{CallError, Options, Pending};
use hcrun_protocol::Prng;

use crate::ranks::{Comm, Ranks};

/// A sum that differs for each tag; lengths differ too, so that mixed up tags fail.
fn begin(comm: &Comm, rank: usize, tag: u32) -> Pending<HostBuffers> {
    let values: Vec<u64> =
        (0..u64::from(tag) * 100).map(|index| index * u64::from(tag) + rank as u64).collect();
    comm.all_reduce(HostBuffers::new(values), &Options::tag(tag)).unwrap()
}

fn finish(pending: Pending<HostBuffers>, tag: u32, ranks: usize) {
    let result = pending.wait().unwrap().into_vec::<u64>().unwrap();
    let (count, all) = (ranks as u64, (0..ranks as u64).sum::<u64>());
    let wrong = (0..).zip(&result).find(|(index, sum)| **sum != index * u64::from(tag) * count + all);
    assert_eq!((wrong, result.len()), (None, tag as usize * 100), "tag {tag}");
}

fn shuffle<T>(items: &mut [T], key: &[u64]) {
    let mut prng = Prng::keyed(key);
    for index in (1..items.len()).rev() {
        let other = usize::try_from(prng.below(index as u64 + 1)).unwrap();
        items.swap(index, other);
    }
}

#[test]
fn tags_are_submitted_and_awaited_in_any_order() {
    for lanes in [1, 2] {
        let ranks = Ranks::new(4, lanes);
        for in_flight in [2_u32, 8, 32] {
            for repetition in 0..3 {
                ranks.each(|rank, comm| {
                    let mut tags: Vec<u32> = (1..=in_flight).collect();
                    shuffle(&mut tags, &[repetition, rank as u64]);
                    let begun = tags.iter().map(|tag| (*tag, begin(comm, rank, *tag)));
                    let mut begun: Vec<_> = begun.collect();
                    shuffle(&mut begun, &[repetition, rank as u64, 1]);
                    begun.into_iter().for_each(|(tag, pending)| finish(pending, tag, 4));
                });
            }
        }
    }
}

#[test]
fn several_threads_of_a_rank_call_at_once() {
    let ranks = Ranks::new(3, 2);
    ranks.each(|rank, comm| {
        std::thread::scope(|scope| {
            for thread in 0..4_u32 {
                scope.spawn(move || {
                    for use_count in 0..5 {
                        let tag = 1 + thread + 10 * use_count;
                        finish(begin(comm, rank, tag), tag, 3);
                    }
                });
            }
        });
    });
}

#[test]
fn a_tag_that_is_in_use_is_refused_and_nothing_is_lost() {
    let ranks = Ranks::new(2, 1);
    let first = Mutex::new(None);
    // Rank 1 has not begun, so the first collective of rank 0 cannot have ended.
    let comm = &ranks.communicators[0];
    *first.lock().unwrap() = Some(begin(comm, 0, 3));
    let second = comm.all_reduce(HostBuffers::new(vec![1_u64]), &Options::tag(3));
    assert!(matches!(second.err(), Some(CallError::TagInUse { tag: 3 })));
    ranks.each(|rank, comm| {
        let taken = if rank == 0 { first.lock().unwrap().take() } else { None };
        finish(taken.unwrap_or_else(|| begin(comm, rank, 3)), 3, 2);
        // Waited for, the tag can be used again.
        finish(begin(comm, rank, 3), 3, 2);
    });
}

#[test]
fn tags_out_of_range_are_refused() {
    let ranks = Ranks::new(1, 1);
    for tag in [0, 1 << 20, u32::MAX] {
        let refused = ranks.communicators[0].all_reduce(HostBuffers::new(vec![1_u64]), &Options::tag(tag));
        assert!(matches!(refused.err(), Some(CallError::Tag { .. })), "{tag}");
    }
}

#[test]
fn a_handle_that_is_dropped_leaves_the_others_their_result() {
    let ranks = Ranks::new(3, 1);
    ranks.each(|rank, comm| {
        for dropping in 0..3 {
            let pending = begin(comm, rank, 5);
            if rank == dropping {
                drop(pending);
            } else {
                finish(pending, 5, 3);
            }
        }
        // Uses of the tag still match.
        finish(begin(comm, rank, 5), 5, 3);
    });
}
