//! Collectives among some ranks of a group, in any order, beside each other.

use hcrun_kernels::host_buffers::HostBuffers;
use hcrun_net::collective::{CallError, Options, Pending};
use hcrun_protocol::Rank;

use crate::ranks::{Comm, Ranks};

fn ranks_of(indices: &[usize]) -> Vec<Rank> {
    indices.iter().map(|index| Rank::from_index(*index)).collect()
}

fn begin(comm: &Comm, rank: usize, elems: usize) -> Pending<HostBuffers> {
    let buffers = HostBuffers::new(vec![1_u64 << (4 * rank); elems]);
    comm.all_reduce(buffers, &Options::default()).unwrap()
}

fn finish(pending: Pending<HostBuffers>, members: &[usize]) {
    let result = pending.wait().unwrap().into_vec::<u64>().unwrap();
    let expected: u64 = members.iter().map(|rank| 1 << (4 * rank)).sum();
    assert!(result.iter().all(|sum| *sum == expected), "{members:?}: {:x?}", result.first());
}

#[test]
fn any_ranks_make_a_subgroup() {
    let divisions: [&[&[usize]]; 6] = [
        &[&[0, 1, 2], &[3, 4, 5]],
        &[&[0, 2, 4], &[1, 3, 5]],
        &[&[5, 4, 3, 2, 1, 0]],
        &[&[3], &[0, 5]],
        &[&[0], &[1], &[2], &[4]],
        &[&[4, 0, 1, 3]],
    ];
    let ranks = Ranks::new(6, 1);
    for division in divisions {
        ranks.each(|rank, comm| {
            let Some(members) = division.iter().find(|members| members.contains(&rank)) else { return };
            let part = comm.subgroup(&ranks_of(members)).unwrap();
            assert_eq!(part.ranks(), ranks_of(members));
            for elems in [1, 64, 1_000, 30_000] {
                finish(begin(&part, rank, elems), members);
            }
            let root = *members.last().unwrap();
            let given = HostBuffers::new(vec![rank as u64; 300]);
            let got = part.broadcast(Rank::from_index(root), given, &Options::default()).unwrap();
            assert_eq!(got.wait().unwrap().into_vec::<u64>().unwrap(), [root as u64; 300]);
            part.barrier(&Options::default()).unwrap();
        });
        // The whole group goes on.
        ranks.each(|rank, comm| finish(begin(comm, rank, 100), &[0, 1, 2, 3, 4, 5]));
    }
}

#[test]
fn overlapping_subgroups_and_the_whole_run_at_once() {
    let ranks = Ranks::new(5, 2);
    let (left, right, all): (&[usize], &[usize], &[usize]) = (&[0, 1, 2, 3], &[4, 3, 2], &[0, 1, 2, 3, 4]);
    ranks.each(|rank, comm| {
        let part =
            |members: &[usize]| members.contains(&rank).then(|| comm.subgroup(&ranks_of(members)).unwrap());
        let (left_part, right_part) = (part(left), part(right));
        for repetition in 0..10 {
            let elems = 1 + repetition * 1_000;
            let mut begun: Vec<(Pending<HostBuffers>, &[usize])> = Vec::new();
            // Who is in both begins them in another order on each rank.
            let mut groups = [(left_part.as_ref(), left), (right_part.as_ref(), right), (Some(comm), all)];
            groups.rotate_left((rank + repetition) % 3);
            for (group, members) in groups {
                begun.extend(group.map(|group| (begin(group, rank, elems), members)));
            }
            begun.into_iter().for_each(|(pending, members)| finish(pending, members));
        }
    });
}

#[test]
fn what_is_no_subgroup_is_refused() {
    let ranks = Ranks::new(3, 1);
    let comm = &ranks.communicators[0];
    for wrong in [&[1, 2][..], &[0, 0], &[0, 3], &[]] {
        let refused = comm.subgroup(&ranks_of(wrong));
        assert!(matches!(refused.err(), Some(CallError::Subgroup { .. })), "{wrong:?}");
    }
    let _first = comm.subgroup(&ranks_of(&[0, 1])).unwrap();
    assert!(matches!(comm.subgroup(&ranks_of(&[0, 1])).err(), Some(CallError::SubgroupTwice { .. })));
    let root = comm.broadcast(Rank(3), HostBuffers::new(vec![0_u8]), &Options::default());
    assert!(matches!(root.err(), Some(CallError::Root { .. })));
}
