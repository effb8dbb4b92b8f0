//! Ranks that sum among themselves before programs begin.

use super::*;

/// Every way to form up to two groups of a zone's ranks, neighbours or not.
fn groupings(zone: &[Rank]) -> Vec<Vec<Vec<Rank>>> {
    let mut found = Vec::new();
    for code in 0..3usize.pow(u32::try_from(zone.len()).unwrap()) {
        let label = |index: usize| code / 3usize.pow(u32::try_from(index).unwrap()) % 3;
        let group = |name| {
            let of_group = zone.iter().enumerate().filter(|(index, _)| label(*index) == name);
            of_group.map(|(_, rank)| *rank).collect::<Vec<Rank>>()
        };
        let groups = [group(1), group(2)];
        if groups.iter().all(|group| group.len() != 1) {
            found.push(groups.into_iter().filter(|group| !group.is_empty()).collect());
        }
    }
    found.sort();
    found.dedup();
    found
}

/// Of all zones together.
fn all_groupings(zones: &[Vec<Rank>]) -> Vec<Vec<Vec<Rank>>> {
    zones.iter().fold(vec![Vec::new()], |so_far, zone| {
        let with = |groups: &Vec<Vec<Rank>>| {
            let extend = |more: Vec<Vec<Rank>>| [groups.clone(), more].concat();
            groupings(zone).into_iter().map(extend).collect::<Vec<_>>()
        };
        so_far.iter().flat_map(with).collect()
    })
}

fn grouped(sizes: &[u16], elems: usize, nodes: Vec<Vec<Rank>>) -> Shape {
    Shape { nodes, ..shape(sizes, elems, Algorithm::Zoned) }
}

#[test]
fn groups_change_neither_owners_nor_what_crosses_a_border() {
    for sizes in splits().into_iter().filter(|sizes| sizes.iter().sum::<u16>() <= 5) {
        for nodes in all_groupings(&zones(&sizes)) {
            for (elems, collective) in [3, 1_000].into_iter().flat_map(|n| COLLECTIVES.map(|c| (n, c))) {
                let plain = Schedule::build(collective, &grouped(&sizes, elems, Vec::new())).unwrap();
                let schedule = Schedule::build(collective, &grouped(&sizes, elems, nodes.clone())).unwrap();
                let verdict = schedule.verify(usize::from(*sizes.iter().min().unwrap()));
                assert_eq!(verdict, Ok(()), "{collective:?} {sizes:?} {nodes:?} {elems}");
                for rank in schedule.ranks() {
                    assert_eq!(schedule.owned(rank), plain.owned(rank), "{sizes:?} {nodes:?}");
                }
                let traffic = |schedule: &Schedule| schedule.traffic(crate::dtype::DType::F32);
                assert_eq!(traffic(&schedule).borders, traffic(&plain).borders, "{sizes:?} {nodes:?}");
                let within = |from: Rank, to: Rank| {
                    nodes.iter().any(|node| node.contains(&from) && node.contains(&to))
                };
                assert!(traffic(&schedule).links.keys().all(|(from, to)| !within(*from, *to)));
            }
        }
    }
}

#[test]
fn with_a_codec_a_sum_of_a_group_is_rounded_as_often_as_a_lone_contribution() {
    for sizes in [&[3][..], &[4], &[3, 2]] {
        for nodes in all_groupings(&zones(sizes)) {
            for collective in COLLECTIVES {
                let plain = grouped(sizes, 3_001, nodes.clone());
                let shape = Shape { align: 256, segment_elems: 512, codec: Codec::Int8, ..plain };
                let schedule = Schedule::build(collective, &shape).unwrap();
                assert_eq!(schedule.verify(1), Ok(()), "{collective:?} {sizes:?} {nodes:?}");
            }
        }
    }
}

#[test]
fn parts_of_a_group_are_shared_evenly() {
    // Two nodes of a zone: each rank has its own quarter and one of the other node's.
    let nodes = vec![vec![Rank(0), Rank(1)], vec![Rank(2), Rank(3)]];
    let schedule = Schedule::build(Collective::AllReduce, &grouped(&[4], 64, nodes)).unwrap();
    let held = |rank: u16| schedule.node_group(Rank(rank)).unwrap().held[&Rank(rank)].clone();
    assert_eq!([held(0), held(1)], [vec![0..16, 32..48], vec![16..32, 48..64]]);
    assert_eq!([held(2), held(3)], [vec![0..16, 32..48], vec![16..32, 48..64]]);
    // A node that is a zone: each its own part, and no frame at all.
    let whole = vec![vec![Rank(0), Rank(1), Rank(2)]];
    let schedule = Schedule::build(Collective::AllReduce, &grouped(&[3], 96, whole)).unwrap();
    let group = schedule.node_group(Rank(2)).unwrap();
    let held: Vec<Range<usize>> = group.held.values().flatten().cloned().collect();
    assert_eq!((group.held.len(), held), (3, vec![0..32, 32..64, 64..96]));
    assert!(schedule.traffic(crate::dtype::DType::F32).links.is_empty());
}

#[test]
fn what_is_no_group_is_refused() {
    let build = |nodes: &[&[u16]], algorithm| {
        let nodes = nodes.iter().map(|node| node.iter().copied().map(Rank).collect()).collect();
        let sizes: &[u16] = if algorithm == Algorithm::Zoned { &[3, 2] } else { &[5] };
        Schedule::build(Collective::AllReduce, &Shape { nodes, ..shape(sizes, 100, algorithm) }).err()
    };
    let refused =
        |ranks: &[u16]| Some(ScheduleError::NodeGroup { ranks: ranks.iter().copied().map(Rank).collect() });
    assert_eq!(build(&[&[0, 1]], Algorithm::Zoned), None);
    assert_eq!(build(&[&[2, 3]], Algorithm::Zoned), refused(&[2, 3]), "of two zones");
    assert_eq!(build(&[&[1]], Algorithm::Zoned), refused(&[1]));
    assert_eq!(build(&[&[]], Algorithm::Zoned), refused(&[]));
    assert_eq!(build(&[&[1, 0]], Algorithm::Zoned), refused(&[1, 0]));
    assert_eq!(build(&[&[0, 9]], Algorithm::Zoned), refused(&[0, 9]));
    assert_eq!(build(&[&[0, 1], &[1, 2]], Algorithm::Zoned), refused(&[1, 2]));
    let needs = ScheduleError::NodesNeedZoned { algorithm: "direct" };
    assert_eq!(build(&[&[0, 1]], Algorithm::Direct), Some(needs));
}

mod mutants {
    use super::*;

    fn two_zones() -> Schedule {
        let nodes = vec![vec![Rank(0), Rank(1)], vec![Rank(3), Rank(4)]];
        Schedule::build(Collective::AllReduce, &grouped(&[3, 2], 200, nodes)).unwrap()
    }

    fn actions(schedule: &mut Schedule, rank: u16) -> &mut Vec<Action> {
        &mut Arc::make_mut(schedule.programs.get_mut(&Rank(rank)).unwrap()).intervals[0].actions
    }

    #[test]
    fn a_part_that_nobody_or_another_holds() {
        for held in [None, Some(0..200)] {
            let mut schedule = two_zones();
            *schedule.nodes[0].held.get_mut(&Rank(1)).unwrap() = held.into_iter().collect();
            assert!(matches!(schedule.verify(2), Err(Violation::Held { .. })));
        }
        let mut schedule = two_zones();
        let held = schedule.nodes[0].held.remove(&Rank(1)).unwrap();
        schedule.nodes[0].held.insert(Rank(2), held);
        assert!(matches!(schedule.verify(2), Err(Violation::Held { .. })));
        // Who speaks for the group does not hold its sum.
        let mut schedule = two_zones();
        let ranges: Vec<_> = schedule.nodes[0].held.values().cloned().rev().collect();
        for (held, swapped) in schedule.nodes[0].held.values_mut().zip(ranges) {
            *held = swapped;
        }
        assert!(schedule.verify(2).is_err());
    }

    #[test]
    fn a_group_over_a_border_or_two_that_share_a_rank() {
        for ranks in [[0, 3], [1, 2]] {
            let mut schedule = two_zones();
            let index = usize::from(ranks[0] == 1);
            let ranks = ranks.map(Rank).to_vec();
            let part = |(index, rank): (usize, &Rank)| {
                (*rank, Some(100 * index..100 * (index + 1)).into_iter().collect())
            };
            let held = ranks.iter().enumerate().map(part).collect();
            schedule.nodes[index] = NodeGroup { ranks, held };
            assert!(matches!(schedule.verify(2), Err(Violation::NodeGroup { .. })));
        }
    }

    /// What a rank is left with once its group has its sum never counts as its contribution.
    #[test]
    fn a_contribution_that_is_sent_beside_its_groups_sum() {
        let mut schedule = two_zones();
        // Interval 0 belongs to rank 0, which adds its group's sum and that of rank 2.
        let owner = 0;
        let Some(Action::Reduce { terms, .. }) =
            actions(&mut schedule, owner).iter_mut().find(|action| matches!(action, Action::Reduce { .. }))
        else {
            panic!()
        };
        let phase = Phase(7);
        terms.insert(0, Term::From { rank: Rank(1), phase, codec: Codec::None });
        let send = Action::Send {
            to: vec![Rank(owner)],
            level: Level(0),
            phase,
            coverage: Coverage::Partial,
            codec: Codec::None,
        };
        let range = schedule.programs[&Rank(owner)].intervals[0].range.clone();
        let program = Arc::make_mut(schedule.programs.get_mut(&Rank(1)).unwrap());
        program.intervals.insert(0, Interval { range, actions: vec![send] });
        assert!(schedule.verify(2).is_err());
    }

    /// Both zones' results stay right: only what crosses shows it.
    #[test]
    fn what_is_left_at_a_rank_inside_a_sum_over_the_border() {
        let mut schedule = two_zones();
        let range = schedule.programs[&Rank(0)].intervals[0].range.clone();
        let zone = Level(1);
        let send = |to: u16, level, phase| Action::Send {
            to: vec![Rank(to)],
            level,
            phase: Phase(phase),
            coverage: Coverage::Complete,
            codec: Codec::None,
        };
        let from = |rank, phase| Term::From { rank: Rank(rank), phase: Phase(phase), codec: Codec::None };
        let of_zone = |action: &Action| matches!(action, Action::Reduce { into, .. } if *into == zone);
        let at = actions(&mut schedule, 0).iter().position(of_zone).unwrap();
        actions(&mut schedule, 0).insert(at + 1, send(1, zone, 7));
        let mut give = |rank: u16, actions: Vec<Action>| {
            let program = Arc::make_mut(schedule.programs.get_mut(&Rank(rank)).unwrap());
            program.intervals.retain(|interval| interval.range != range);
            program.intervals.push(Interval { range: range.clone(), actions });
            program.intervals.sort_by_key(|interval| interval.range.start);
        };
        let add = Action::Reduce { terms: vec![from(0, 7), Term::Own(Level(0))], into: zone };
        give(1, vec![add, send(4, zone, 8)]);
        give(4, vec![Action::Reduce { terms: vec![from(1, 8)], into: zone }]);
        assert!(matches!(schedule.verify(2), Err(Violation::LoneGradient { rank: Rank(1), .. })));
    }
}
