//! Exhaustive proof over small groups, mutants that the proof must catch, and plain execution.

use super::*;

use crate::prng::Prng;

mod nodes;

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
        vec![Algorithm::Zoned, Algorithm::Direct, Algorithm::Ring, Algorithm::OneShot]
    } else {
        vec![Algorithm::Zoned]
    }
}

fn shape(sizes: &[u16], elems: usize, algorithm: Algorithm) -> Shape {
    // Long buffers get long segments, or the exhaustive test would take minutes.
    let segment_elems = SEGMENT.max(elems / 8);
    Shape {
        zones: zones(sizes),
        elems,
        align: ALIGN,
        segment_elems,
        algorithm,
        codec: Codec::None,
        nodes: Vec::new(),
    }
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
fn with_a_codec_everything_is_rounded_equally_often() {
    for sizes in [&[1][..], &[2], &[5], &[1, 1], &[2, 3], &[3, 1, 2]] {
        for algorithm in algorithms(sizes).into_iter().filter(|algorithm| *algorithm != Algorithm::Ring) {
            for (collective, codec) in
                COLLECTIVES.into_iter().flat_map(|c| [(c, Codec::Bf16), (c, Codec::Int8)])
            {
                let shape = Shape { align: 256, segment_elems: 512, codec, ..shape(sizes, 3_001, algorithm) };
                let schedule = Schedule::build(collective, &shape).unwrap();
                assert_eq!(schedule.verify(1), Ok(()), "{collective:?} {algorithm:?} {sizes:?}");
            }
        }
    }
}

#[test]
fn a_codec_shortens_what_crosses_the_border_and_nothing_else() {
    let plain = Shape { align: 256, segment_elems: 512, ..shape(&[2, 2], 2_048, Algorithm::Zoned) };
    let traffic = |codec| {
        let shape = Shape { codec, ..plain.clone() };
        Schedule::build(Collective::AllReduce, &shape).unwrap().traffic(crate::dtype::DType::F32)
    };
    let (none, int8) = (traffic(Codec::None), traffic(Codec::Int8));
    for flow in int8.borders.values() {
        assert_eq!((flow.frames, flow.bytes), (4, 4 * (64 + 2 * 258)));
    }
    let inside = |traffic: &Traffic| {
        let links = traffic.links.iter();
        links.filter(|((a, b), _)| a.0 / 2 == b.0 / 2).map(|(_, flow)| flow.bytes).sum::<u64>()
    };
    assert_eq!(inside(&none), inside(&int8));
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
    let ragged = Shape { codec: Codec::Int8, ..good.clone() };
    assert!(matches!(build(ragged), ScheduleError::Blocks { block: 256, .. }));
    let ring = Shape { algorithm: Algorithm::Ring, codec: Codec::Bf16, ..shape(&[2], 10, Algorithm::Ring) };
    assert_eq!(build(ring), ScheduleError::RingRounds { codec: Codec::Bf16 });
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
            Action::Send { to, .. } => to.iter().any(|to| schedule.zone_of(rank) != schedule.zone_of(*to)),
            _ => false,
        }
    }

    #[test]
    fn a_lone_gradient_over_the_border() {
        // A member that holds nothing but its own gradient sends it.
        let mut schedule = zoned();
        let crosses = crosses(&schedule);
        let (rank, index) = find(&mut schedule, crosses);
        let send = actions(&mut schedule, rank)[index].clone();
        actions(&mut schedule, rank).remove(index);
        actions(&mut schedule, rank).insert(0, send);
        let Action::Send { level, .. } = &mut actions(&mut schedule, rank)[0] else { panic!() };
        *level = Level(0);
        // As complete it lies, as partial it leaks.
        assert!(matches!(schedule.verify(2), Err(Violation::FalseMark { .. })));
        let Action::Send { coverage, .. } = &mut actions(&mut schedule, rank)[0] else { panic!() };
        *coverage = Coverage::Partial;
        assert!(matches!(schedule.verify(2), Err(Violation::LoneGradient { .. })));
    }

    #[test]
    fn a_sum_over_part_of_a_zone_over_the_border() {
        // Zone 1 leaves the first member's part out of what it sends.
        let mut schedule = zoned();
        let crosses = crosses(&schedule);
        let (rank, _) = find(&mut schedule, |rank, action| rank.0 >= 2 && crosses(rank, action));
        let reduce = actions(&mut schedule, rank).iter_mut().find_map(|action| match action {
            Action::Reduce { terms, into: Level(1) } => Some(terms),
            _ => None,
        });
        reduce.unwrap().remove(0);
        assert!(matches!(schedule.verify(2), Err(Violation::FalseMark { .. })));
    }

    #[test]
    fn a_level_that_was_overwritten() {
        let mut schedule = zoned();
        let (rank, index) =
            find(&mut schedule, |_, action| matches!(action, Action::Reduce { into: Level(2), .. }));
        let Action::Reduce { terms, .. } = &mut actions(&mut schedule, rank)[index] else { panic!() };
        let own = terms.iter_mut().find(|term| matches!(term, Term::Own(_)));
        if let Some(own) = own {
            *own = Term::Own(Level(0));
        } else {
            terms.push(Term::Own(Level(1)));
        }
        assert!(matches!(schedule.verify(2), Err(Violation::Overwritten { .. })));
    }

    #[test]
    fn an_own_part_that_is_not_rounded() {
        let shape = Shape {
            align: 256,
            segment_elems: 512,
            codec: Codec::Int8,
            ..shape(&[3], 1_024, Algorithm::Direct)
        };
        let mut schedule = Schedule::build(Collective::AllReduce, &shape).unwrap();
        let lonely = |_, action: &Action| matches!(action, Action::Send { to, .. } if to.is_empty());
        let (rank, index) = find(&mut schedule, lonely);
        actions(&mut schedule, rank).remove(index);
        assert!(matches!(schedule.verify(1), Err(Violation::UnevenRounding { .. })));
    }

    #[test]
    fn another_codec_than_expected() {
        let mut schedule =
            Schedule::build(Collective::AllReduce, &shape(&[3], 200, Algorithm::Direct)).unwrap();
        let (rank, index) = find(&mut schedule, |_, action| matches!(action, Action::Send { .. }));
        let Action::Send { codec, .. } = &mut actions(&mut schedule, rank)[index] else { panic!() };
        *codec = Codec::F16;
        assert!(matches!(schedule.verify(1), Err(Violation::OtherCodec { .. })));
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
        let send = actions(&mut schedule, rank)[index].clone();
        actions(&mut schedule, rank).insert(index, send);
        assert!(matches!(schedule.verify(2), Err(Violation::Duplicate { .. })));
    }

    fn terms(schedule: &mut Schedule, rank: u16, index: usize) -> &mut Vec<Term> {
        let Action::Reduce { terms, .. } = &mut actions(schedule, rank)[index] else { panic!() };
        terms
    }

    fn is_sum(_: Rank, action: &Action) -> bool {
        matches!(action, Action::Reduce { terms, .. } if terms.len() > 1)
    }

    #[test]
    fn a_doubled_and_a_forgotten_term() {
        let mut schedule = zoned();
        let (rank, index) = find(&mut schedule, is_sum);
        let own = Term::Own(Level(0));
        terms(&mut schedule, rank, index).push(own);
        assert!(schedule.verify(2).is_err());
        assert_eq!(terms(&mut schedule, rank, index).pop(), Some(own));
        assert_eq!(schedule.verify(2), Ok(()));
        assert_eq!(terms(&mut schedule, rank, index).pop(), Some(own));
        assert!(schedule.verify(2).is_err());
    }

    #[test]
    fn a_swapped_order() {
        for algorithm in [Algorithm::Direct, Algorithm::Zoned, Algorithm::OneShot] {
            let mut schedule = Schedule::build(Collective::AllReduce, &shape(&[4], 200, algorithm)).unwrap();
            let (rank, index) = find(&mut schedule, is_sum);
            terms(&mut schedule, rank, index).swap(0, 1);
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
        *to = vec![Rank(if rank < 2 { 3 } else { 0 })];
        assert!(matches!(schedule.verify(2), Err(Violation::GatherCrosses { .. })));
    }
}

mod execution {
    //! Programs run on numbers, without machine or network.

    use super::*;

    /// What each rank holds; levels of an element lie in the same place.
    type Buffers = BTreeMap<Rank, Vec<f32>>;

    /// Values whose sum depends on the order of additions.
    fn contribution(rank: Rank, elems: usize) -> Vec<f32> {
        let mut prng = Prng::keyed(&[7, u64::from(rank.0)]);
        let value = |_| (prng.below(1 << 24) as f32 - 8e6) * [1e-3, 1.0, 1e4][usize::from(rank.0) % 3];
        (0..elems).map(value).collect()
    }

    fn execute(schedule: &Schedule) -> Buffers {
        let elems = schedule.elems();
        let mut buffers: Buffers = schedule.ranks().map(|rank| (rank, contribution(rank, elems))).collect();
        let mut next: BTreeMap<(Rank, usize), usize> = BTreeMap::new();
        let mut in_flight: BTreeMap<(Rank, Rank, usize, Phase), Vec<f32>> = BTreeMap::new();
        let mut progress = true;
        while progress {
            progress = false;
            for rank in schedule.ranks() {
                for (index, Interval { range, actions }) in
                    schedule.program(rank).unwrap().intervals.iter().enumerate()
                {
                    let next = next.entry((rank, index)).or_default();
                    while let Some(action) = actions.get(*next) {
                        match action {
                            Action::Send { to, phase, .. } => {
                                let values = buffers[&rank][range.clone()].to_vec();
                                to.iter().for_each(|to| {
                                    in_flight.insert((rank, *to, range.start, *phase), values.clone());
                                });
                            }
                            Action::Reduce { terms, .. } => {
                                let key = |term: &Term| match term {
                                    Term::From { rank: from, phase, .. } => {
                                        Some((*from, rank, range.start, *phase))
                                    }
                                    Term::Own(_) => None,
                                };
                                if !terms.iter().filter_map(key).all(|key| in_flight.contains_key(&key)) {
                                    break;
                                }
                                let own = buffers[&rank][range.clone()].to_vec();
                                let values = terms.iter().map(|term| match key(term) {
                                    Some(key) => in_flight.remove(&key).unwrap(),
                                    None => own.clone(),
                                });
                                let sum = values.reduce(|sum, values| {
                                    sum.iter().zip(&values).map(|(sum, value)| sum + value).collect()
                                });
                                let into = buffers.get_mut(&rank).unwrap();
                                into[range.clone()].copy_from_slice(&sum.unwrap());
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
                    let result = &buffers[&rank];
                    assert_eq!(bits(result), bits(&expected), "{algorithm:?} {sizes:?} {rank}");
                }
            }
        }
    }

    #[test]
    fn all_algorithms_give_equal_bits_whatever_the_segments() {
        for ranks in 1..=9 {
            let all = [Algorithm::Ring, Algorithm::Direct, Algorithm::Zoned, Algorithm::OneShot];
            let results = all.map(|algorithm| {
                let segment_elems = if algorithm == Algorithm::Ring { 13 } else { 64 };
                let shape = Shape { segment_elems, ..shape(&[ranks], 501, algorithm) };
                let schedule = Schedule::build(Collective::AllReduce, &shape).unwrap();
                bits(&execute(&schedule)[&Rank(0)])
            });
            assert!(results.iter().all(|result| *result == results[0]), "{ranks} ranks");
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
                    let own = &scattered[&rank][range.clone()];
                    assert_eq!(bits(own), bits(&all[&rank][range.clone()]));
                }
            }
        }
    }
}

#[test]
fn each_element_has_one_total_where_it_is_owned() {
    for algorithm in [Algorithm::Ring, Algorithm::Direct] {
        for count in 2..6 {
            let schedule = Schedule::build(Collective::AllReduce, &shape(&[count], 300, algorithm)).unwrap();
            for rank in schedule.ranks() {
                let program = schedule.program(rank).unwrap();
                for interval in &program.intervals {
                    let forms = |action: &usize| program.forms_total(interval, *action);
                    let totals = (0..interval.actions.len()).filter(forms).count();
                    let owns = schedule.owned(rank).iter().any(|own| own.contains(&interval.range.start));
                    assert_eq!(totals, usize::from(owns), "{algorithm:?}, {rank} of {count}: {interval:?}");
                }
            }
        }
    }
}

#[test]
fn owners_store_what_they_gather() {
    for sizes in [&[1_u16][..], &[3], &[2, 2]] {
        let algorithm = if sizes.len() > 1 { Algorithm::Zoned } else { Algorithm::Direct };
        let schedule = Schedule::build(Collective::Gather, &shape(sizes, 300, algorithm)).unwrap();
        for rank in schedule.ranks() {
            let stores = |interval: &&Interval| {
                interval.actions.iter().any(|action| matches!(action, Action::Reduce { into: Level(0), .. }))
            };
            let intervals = &schedule.program(rank).unwrap().intervals;
            let stored: usize = intervals.iter().filter(stores).map(|interval| interval.range.len()).sum();
            assert_eq!(stored, 300, "{rank} of {sizes:?}");
        }
    }
}
