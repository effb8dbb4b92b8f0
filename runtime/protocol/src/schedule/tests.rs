//! Exhaustive proof over small groups, mutants that the proof must catch, and plain execution.

use super::*;

use crate::prng::Prng;

const ALIGN: usize = 8;
const SEGMENT: usize = 96;
const LENGTHS: [usize; 6] = [0, 1, 5, 64, 1_000, 10 * 1_024 + 3];
const COLLECTIVES: [Collective; 3] = [Collective::AllReduce, Collective::ReduceScatter, Collective::Gather];

/// The ranks 0.. in zones of these sizes.
fn zones(sizes: &[u16]) -> Vec<Vec<Rank>> {
    let mut next = 0;
    let zone = |size: &u16| {
        let ranks = (next..next + size).map(Rank).collect();
        next += size;
        ranks
    };
    sizes.iter().map(zone).collect()
}

/// Every way to put 1 to 9 ranks into one, two or three zones, in order.
fn splits() -> Vec<Vec<u16>> {
    let mut splits = Vec::new();
    for ranks in 1..=9u16 {
        splits.push(vec![ranks]);
        for first in 1..ranks {
            splits.push(vec![first, ranks - first]);
            splits.extend((1..ranks - first).map(|second| vec![first, second, ranks - first - second]));
        }
    }
    splits
}

fn algorithms(sizes: &[u16]) -> Vec<Algorithm> {
    if sizes.len() == 1 {
        vec![Algorithm::Zoned, Algorithm::Direct, Algorithm::Ring]
    } else {
        vec![Algorithm::Zoned]
    }
}

fn shape(sizes: &[u16], elems: usize, algorithm: Algorithm) -> Shape {
    // Long buffers get long segments, or the exhaustive test would take minutes.
    let segment_elems = SEGMENT.max(elems / 8);
    Shape { zones: zones(sizes), elems, align: ALIGN, segment_elems, algorithm }
}

#[test]
fn all_schedules_up_to_nine_ranks_in_three_zones_are_right() {
    for sizes in splits() {
        for elems in LENGTHS {
            for algorithm in algorithms(&sizes) {
                for collective in COLLECTIVES {
                    let shape = shape(&sizes, elems, algorithm);
                    let schedule = Schedule::build(collective, &shape).unwrap();
                    let smallest = sizes.iter().copied().min().unwrap();
                    let verdict = schedule.verify(usize::from(smallest));
                    assert_eq!(verdict, Ok(()), "{collective:?} {algorithm:?} {sizes:?} {elems}");
                    if sizes.len() > 1 && elems > 0 && collective != Collective::Gather {
                        let verdict = schedule.verify(usize::from(smallest) + 1);
                        assert!(matches!(verdict, Err(Violation::TooFewContributors { .. })), "{verdict:?}");
                    }
                }
            }
        }
    }
}

#[test]
fn ownership_is_aligned_and_even_in_one_zone() {
    for ranks in 1..=9 {
        let schedule =
            Schedule::build(Collective::ReduceScatter, &shape(&[ranks], 1_003, Algorithm::Ring)).unwrap();
        let owned: Vec<usize> =
            schedule.ranks().map(|rank| schedule.owned(rank).iter().map(|range| range.len()).sum()).collect();
        assert_eq!(owned.iter().sum::<usize>(), 1_003);
        assert!(owned.iter().max().unwrap() - owned.iter().min().unwrap() <= ALIGN, "{owned:?}");
    }
}

#[test]
fn bytes_follow_the_textbook() {
    // Ring and direct all-reduce: every rank sends 2 (N - 1) / N of the buffer.
    for algorithm in [Algorithm::Ring, Algorithm::Direct] {
        let shape = Shape { segment_elems: 32, ..shape(&[4], 1_024, algorithm) };
        let traffic =
            Schedule::build(Collective::AllReduce, &shape).unwrap().traffic(crate::dtype::DType::F32);
        let sent = |rank: u16| -> Flow {
            let mut sum = Flow::default();
            traffic
                .links
                .iter()
                .filter(|((from, _), _)| *from == Rank(rank))
                .for_each(|(_, flow)| sum += *flow);
            sum
        };
        for rank in 0..4 {
            assert_eq!(sent(rank), Flow { frames: 48, bytes: 2 * 3 * 256 * 4 + 48 * 64 }, "{algorithm:?}");
        }
        assert!(traffic.borders.is_empty());
    }
    // Zones send each element once to each other zone, however many ranks they have.
    let shape = Shape { segment_elems: 1_024, ..shape(&[2, 3, 1], 960, Algorithm::Zoned) };
    let schedule = Schedule::build(Collective::ReduceScatter, &shape).unwrap();
    let traffic = schedule.traffic(crate::dtype::DType::F32);
    assert_eq!(traffic.borders.len(), 6);
    for flow in traffic.borders.values() {
        assert_eq!(flow.bytes - flow.frames * 64, 960 * 4);
    }
}

#[test]
fn impossible_shapes_are_refused() {
    let good = shape(&[2, 1], 10, Algorithm::Zoned);
    let build = |shape: Shape| Schedule::build(Collective::AllReduce, &shape).unwrap_err();
    assert_eq!(build(Shape { zones: Vec::new(), ..good.clone() }), ScheduleError::NoZones);
    let empty = vec![vec![Rank(0)], Vec::new()];
    assert_eq!(build(Shape { zones: empty, ..good.clone() }), ScheduleError::EmptyZone { zone: 1 });
    let twice = vec![vec![Rank(0)], vec![Rank(0)]];
    assert_eq!(build(Shape { zones: twice, ..good.clone() }), ScheduleError::Twice { rank: Rank(0) });
    assert!(matches!(build(Shape { align: 0, ..good.clone() }), ScheduleError::ZeroLength { .. }));
    let ring = Shape { algorithm: Algorithm::Ring, ..good.clone() };
    assert_eq!(build(ring), ScheduleError::OneZoneOnly { algorithm: "ring", zones: 2 });
    let owned = [(Rank(0), 0..4), (Rank(1), 5..10), (Rank(2), 0..10)];
    let owned = owned.into_iter().map(|(rank, range)| (rank, Vec::from_iter([range]))).collect();
    let gap = Schedule::gather(&good, &owned).unwrap_err();
    assert_eq!(gap, ScheduleError::Ownership { zone: 0, elems: 10 });
}

mod mutants {
    //! A proof that accepts everything proves nothing: each mutation must be caught.

    use super::*;

    fn zoned() -> Schedule {
        Schedule::build(Collective::AllReduce, &shape(&[2, 3], 200, Algorithm::Zoned)).unwrap()
    }

    /// The actions of a rank on its first interval.
    fn actions(schedule: &mut Schedule, rank: u16) -> &mut Vec<Action> {
        let program = Arc::make_mut(schedule.programs.get_mut(&Rank(rank)).unwrap());
        &mut program.intervals[0].actions
    }

    /// The rank whose first action satisfies the condition, and where.
    fn find(schedule: &mut Schedule, wanted: impl Fn(Rank, &Action) -> bool) -> (u16, usize) {
        let ranks: Vec<Rank> = schedule.ranks().collect();
        let found = ranks.iter().find_map(|rank| {
            let index = actions(schedule, rank.0).iter().position(|action| wanted(*rank, action))?;
            Some((rank.0, index))
        });
        found.unwrap()
    }

    fn crosses(schedule: &Schedule) -> impl Fn(Rank, &Action) -> bool + use<> {
        let schedule = schedule.clone();
        move |rank, action| match action {
            Action::Send { to, .. } => schedule.zone_of(rank) != schedule.zone_of(*to),
            _ => false,
        }
    }

    #[test]
    fn a_lone_gradient_over_the_border() {
        let mut schedule = zoned();
        let crosses = crosses(&schedule);
        let (rank, index) = find(&mut schedule, crosses);
        let Action::Send { level, .. } = &mut actions(&mut schedule, rank)[index] else { panic!() };
        *level = Level(0);
        // As complete it lies, as partial it leaks.
        assert!(matches!(schedule.verify(2), Err(Violation::FalseMark { .. })));
        let Action::Send { coverage, .. } = &mut actions(&mut schedule, rank)[index] else { panic!() };
        *coverage = Coverage::Partial;
        assert!(matches!(schedule.verify(2), Err(Violation::LoneGradient { .. })));
    }

    #[test]
    fn a_sum_over_part_of_a_zone_over_the_border() {
        // Zone 1 sends its sum before the last member's part is in it.
        let mut schedule = zoned();
        let crosses = crosses(&schedule);
        let (rank, index) = find(&mut schedule, |rank, action| rank.0 >= 2 && crosses(rank, action));
        let actions = actions(&mut schedule, rank);
        let send = actions.remove(index);
        actions.insert(1, send);
        assert!(matches!(schedule.verify(2), Err(Violation::FalseMark { .. })));
    }

    #[test]
    fn a_dropped_send() {
        let mut schedule = zoned();
        let (rank, index) = find(&mut schedule, |_, action| matches!(action, Action::Send { .. }));
        actions(&mut schedule, rank).remove(index);
        assert!(matches!(schedule.verify(2), Err(Violation::Deadlock { .. })));
    }

    #[test]
    fn a_doubled_send() {
        let mut schedule = zoned();
        let (rank, index) = find(&mut schedule, |_, action| matches!(action, Action::Send { .. }));
        let send = actions(&mut schedule, rank)[index];
        actions(&mut schedule, rank).push(send);
        assert!(matches!(schedule.verify(2), Err(Violation::Duplicate { .. })));
    }

    #[test]
    fn a_doubled_add() {
        let mut schedule = zoned();
        let is_add = |_, action: &Action| matches!(action, Action::Combine { write: Write::Add, .. });
        let (rank, index) = find(&mut schedule, is_add);
        let add = actions(&mut schedule, rank)[index];
        actions(&mut schedule, rank).insert(index, add);
        assert!(schedule.verify(2).is_err());
    }

    #[test]
    fn a_forgotten_add() {
        let mut schedule =
            Schedule::build(Collective::AllReduce, &shape(&[3], 200, Algorithm::Direct)).unwrap();
        let is_add = |_, action: &Action| matches!(action, Action::Combine { write: Write::Add, .. });
        let (rank, index) = find(&mut schedule, is_add);
        actions(&mut schedule, rank).remove(index);
        assert!(schedule.verify(1).is_err());
    }

    #[test]
    fn a_swapped_order() {
        for algorithm in [Algorithm::Direct, Algorithm::Zoned] {
            let mut schedule = Schedule::build(Collective::AllReduce, &shape(&[4], 200, algorithm)).unwrap();
            let is_add = |_, action: &Action| matches!(action, Action::Receive { write: Write::Add, .. });
            let (rank, index) = find(&mut schedule, is_add);
            let actions = actions(&mut schedule, rank);
            let Action::Receive { from: second, .. } = actions[index] else { panic!() };
            let Action::Receive { from: first, .. } = &mut actions[index - 1] else { panic!() };
            let first = std::mem::replace(first, second);
            let Action::Receive { from: second, .. } = &mut actions[index] else { panic!() };
            *second = first;
            assert!(matches!(schedule.verify(1), Err(Violation::WrongSum { .. })));
        }
    }

    #[test]
    fn a_crossed_wait() {
        // Two ranks that both receive before they send.
        let mut schedule =
            Schedule::build(Collective::AllReduce, &shape(&[1, 1], 5, Algorithm::Zoned)).unwrap();
        for rank in 0..2 {
            let actions = actions(&mut schedule, rank);
            let send = actions.iter().position(|action| matches!(action, Action::Send { .. })).unwrap();
            let send = actions.remove(send);
            actions.push(send);
        }
        assert!(matches!(schedule.verify(1), Err(Violation::Deadlock { .. })));
    }

    #[test]
    fn a_missing_interval_and_a_ragged_cut() {
        let mut schedule = zoned();
        for rank in 0..5 {
            Arc::make_mut(schedule.programs.get_mut(&Rank(rank)).unwrap()).intervals.remove(1);
        }
        assert!(matches!(schedule.verify(2), Err(Violation::NoResult { .. })));

        let mut schedule = zoned();
        let program = Arc::make_mut(schedule.programs.get_mut(&Rank(1)).unwrap());
        program.intervals[0].range.end -= 1;
        assert!(matches!(schedule.verify(2), Err(Violation::Ragged { .. })));
    }

    #[test]
    fn a_gather_that_leaves_its_zone() {
        let mut schedule =
            Schedule::build(Collective::Gather, &shape(&[2, 2], 200, Algorithm::Zoned)).unwrap();
        let (rank, index) = find(&mut schedule, |_, action| matches!(action, Action::Send { .. }));
        let Action::Send { to, .. } = &mut actions(&mut schedule, rank)[index] else { panic!() };
        *to = Rank(if rank < 2 { 3 } else { 0 });
        assert!(matches!(schedule.verify(2), Err(Violation::GatherCrosses { .. })));
    }
}

mod execution {
    //! Programs run on numbers, without machine or network.

    use super::*;

    type Buffers = BTreeMap<(Rank, Level), Vec<f32>>;

    /// Values whose sum depends on the order of additions.
    fn contribution(rank: Rank, elems: usize) -> Vec<f32> {
        let mut prng = Prng::keyed(&[7, u64::from(rank.0)]);
        let value = |_| (prng.below(1 << 24) as f32 - 8e6) * [1e-3, 1.0, 1e4][usize::from(rank.0) % 3];
        (0..elems).map(value).collect()
    }

    fn execute(schedule: &Schedule) -> Buffers {
        let elems = schedule.elems();
        let mut buffers: Buffers =
            schedule.ranks().map(|rank| ((rank, Level(0)), contribution(rank, elems))).collect();
        let mut next: BTreeMap<(Rank, usize), usize> = BTreeMap::new();
        let mut in_flight: BTreeMap<(Rank, Rank, usize, Phase), Vec<f32>> = BTreeMap::new();
        let write = |buffers: &mut Buffers, rank, level, range: &Range<usize>, how, values: &[f32]| {
            let buffer = buffers.entry((rank, level)).or_insert_with(|| vec![f32::NAN; elems]);
            for (old, new) in buffer[range.clone()].iter_mut().zip(values) {
                *old = if how == Write::Add { *old + new } else { *new };
            }
        };
        let mut progress = true;
        while progress {
            progress = false;
            for rank in schedule.ranks() {
                for (index, Interval { range, actions }) in
                    schedule.program(rank).unwrap().intervals.iter().enumerate()
                {
                    let next = next.entry((rank, index)).or_default();
                    while let Some(action) = actions.get(*next) {
                        match *action {
                            Action::Send { to, level, phase, .. } => {
                                let values = buffers[&(rank, level)][range.clone()].to_vec();
                                in_flight.insert((rank, to, range.start, phase), values);
                            }
                            Action::Receive { from, into, write: how, phase } => {
                                let Some(values) = in_flight.remove(&(from, rank, range.start, phase)) else {
                                    break;
                                };
                                write(&mut buffers, rank, into, range, how, &values);
                            }
                            Action::Combine { from, into, write: how } => {
                                let values = buffers[&(rank, from)][range.clone()].to_vec();
                                write(&mut buffers, rank, into, range, how, &values);
                            }
                        }
                        *next += 1;
                        progress = true;
                    }
                }
            }
        }
        assert!(in_flight.is_empty());
        buffers
    }

    fn bits(values: &[f32]) -> Vec<u32> {
        values.iter().map(|value| value.to_bits()).collect()
    }

    /// The sum in the stated order, one element at a time.
    fn reference(schedule: &Schedule, element: usize) -> f32 {
        let contributions: BTreeMap<Rank, f32> =
            schedule.ranks().map(|rank| (rank, contribution(rank, schedule.elems())[element])).collect();
        let mut total: Option<f32> = None;
        for zone in schedule.zones() {
            let owner =
                zone.iter().position(|rank| schedule.owned(*rank).iter().any(|own| own.contains(&element)));
            let mut order = zone.clone();
            order.rotate_left(owner.unwrap() + 1);
            let sum = order[1..].iter().fold(contributions[&order[0]], |sum, rank| sum + contributions[rank]);
            total = Some(total.map_or(sum, |total| total + sum));
        }
        total.unwrap()
    }

    #[test]
    fn sums_have_the_bits_of_the_stated_order_on_every_rank() {
        for sizes in [&[1][..], &[5], &[2, 2], &[1, 3], &[2, 3, 4]] {
            for algorithm in algorithms(sizes) {
                let schedule = Schedule::build(Collective::AllReduce, &shape(sizes, 307, algorithm)).unwrap();
                let buffers = execute(&schedule);
                let expected: Vec<f32> = (0..307).map(|element| reference(&schedule, element)).collect();
                for rank in schedule.ranks() {
                    let result = &buffers[&(rank, schedule.result_level())];
                    assert_eq!(bits(result), bits(&expected), "{algorithm:?} {sizes:?} {rank}");
                }
            }
        }
    }

    #[test]
    fn ring_and_direct_give_equal_bits_whatever_the_segments() {
        for ranks in 1..=9 {
            let results = [Algorithm::Ring, Algorithm::Direct, Algorithm::Zoned].map(|algorithm| {
                let segment_elems = if algorithm == Algorithm::Ring { 13 } else { 64 };
                let shape = Shape { segment_elems, ..shape(&[ranks], 501, algorithm) };
                let schedule = Schedule::build(Collective::AllReduce, &shape).unwrap();
                bits(&execute(&schedule)[&(Rank(0), schedule.result_level())])
            });
            assert!(results[0] == results[1] && results[1] == results[2], "{ranks} ranks");
        }
    }

    #[test]
    fn scatter_then_gather_is_all_reduce() {
        for sizes in [&[4][..], &[2, 3], &[1, 1, 2]] {
            let shape = shape(sizes, 307, Algorithm::Zoned);
            let whole = Schedule::build(Collective::AllReduce, &shape).unwrap();
            let parts = Schedule::build(Collective::ReduceScatter, &shape).unwrap();
            let (all, scattered) = (execute(&whole), execute(&parts));
            for rank in parts.ranks() {
                for range in parts.owned(rank) {
                    let own = &scattered[&(rank, parts.result_level())][range.clone()];
                    assert_eq!(bits(own), bits(&all[&(rank, whole.result_level())][range.clone()]));
                }
            }
        }
    }
}
