use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn ranks(ranks: impl IntoIterator<Item = u16>) -> Vec<Rank> {
    ranks.into_iter().map(Rank).collect()
}

fn class(samples: u64, of: impl IntoIterator<Item = u16>) -> ClassSize {
    ClassSize { samples, ranks: ranks(of) }
}

fn plan(batch: u32, classes: Vec<ClassSize>, ranks: usize) -> BatchPlan {
    BatchPlan::new(7, batch, classes, vec![1.0; ranks]).unwrap()
}

/// Every sample of a step, sorted.
fn all_samples(plan: &BatchPlan, step: u64) -> Vec<Sample> {
    let batch = plan.compose(Step(step));
    let mut samples: Vec<Sample> = batch.parts.iter().flat_map(|draws| plan.samples(draws)).collect();
    samples.sort_unstable();
    samples
}

#[test]
fn the_global_batch_does_not_depend_on_the_world() {
    let world = |ranks: u16| {
        let private = 0..ranks.div_ceil(2);
        plan(12, vec![class(50, private), class(131, 0..ranks)], usize::from(ranks))
    };
    let alone = world(1);
    for ranks in [2, 3, 4, 6] {
        let plan = world(ranks);
        for step in 0..60 {
            assert_eq!(all_samples(&plan, step), all_samples(&alone, step), "{ranks} ranks, step {step}");
        }
    }
}

#[test]
fn every_epoch_holds_each_sample_once() {
    // 181 samples in batches of 12: 181 steps are 12 epochs.
    let plan = plan(12, vec![class(50, [0, 1]), class(130, 0..3), class(1, [2])], 3);
    let mut seen: BTreeMap<Sample, u32> = BTreeMap::new();
    for step in 0..181 {
        for sample in all_samples(&plan, step) {
            *seen.entry(sample).or_default() += 1;
        }
    }
    assert_eq!(seen.len(), 181);
    assert!(seen.values().all(|count| *count == 12));
}

#[test]
fn restricted_samples_stay_with_the_ranks_that_may_hold_them() {
    let plan = plan(10, vec![class(33, [0, 1]), class(70, 0..4)], 4);
    for step in (0..200).map(Step) {
        let batch = plan.compose(step);
        assert!(batch.parts[2..].iter().flatten().all(|draw| draw.class == 1));
        assert_eq!(
            batch.parts.iter().flatten().map(|d| d.positions.end - d.positions.start).sum::<u64>(),
            10
        );
    }
}

#[test]
fn loads_are_levelled_over_classes() {
    // The restricted class gives 8 of 32 to ranks 0 and 1; the public one fills up to 8 each.
    let even = plan(32, vec![class(100, [0, 1]), class(300, 0..4)], 4);
    let batch = even.compose(Step(0));
    assert_eq!([0, 1, 2, 3].map(|rank| batch.samples_of(Rank(rank))), [8, 8, 8, 8]);
    // Where the restricted class is more than its ranks' even part, the others share the rest.
    let skewed = plan(32, vec![class(300, [0]), class(100, 0..3)], 3);
    let batch = skewed.compose(Step(0));
    assert_eq!([0, 1, 2].map(|rank| batch.samples_of(Rank(rank))), [24, 4, 4]);
}

#[test]
fn a_fast_rank_gets_more() {
    let plan = BatchPlan::new(1, 40, vec![class(1_000, 0..2)], vec![3.0, 1.0]).unwrap();
    let batch = plan.compose(Step(3));
    assert_eq!([0, 1].map(|rank| batch.samples_of(Rank(rank))), [30, 10]);
}

#[test]
fn a_rank_without_its_data_gets_nothing() {
    let plan = plan(8, vec![class(64, [0, 1])], 3);
    assert_eq!(plan.compose(Step(5)).samples_of(Rank(2)), 0);
    assert_eq!(plan.contributors(Step(5), &ranks(0..3)), 2);
}

#[test]
fn a_zone_with_too_few_contributors_is_found() {
    let zones = [ranks([0, 1]), ranks([2, 3])];
    let fine = plan(32, vec![class(100, [0, 1]), class(300, 0..4)], 4);
    assert_eq!(fine.few_contributors(&zones, 2, u64::MAX >> 20), None);
    // Three samples for four ranks: the last zone has one contributor.
    let few = plan(3, vec![class(300, 0..4)], 4).few_contributors(&zones, 2, 100).unwrap();
    assert_eq!(few, FewContributors { step: Step(0), zone: 1, contributors: 1 });
    // A zone with data of its own only gets a lone sample now and then.
    let rare = plan(8, vec![class(10, [2, 3]), class(90, [0, 1])], 4);
    let found = rare.few_contributors(&zones, 2, 1_000).unwrap();
    assert_eq!((found.zone, found.contributors), (1, 1));
    assert_eq!(rare.contributors(found.step, &zones[1]), 1);
    // No contributors at all is not a violation: nothing crosses.
    let none = plan(8, vec![class(90, [0, 1])], 4);
    assert_eq!(none.few_contributors(&zones, 2, 1_000), None);
}

#[test]
fn what_cannot_be_dealt_is_refused() {
    let new = |batch, classes, speeds| BatchPlan::new(1, batch, classes, speeds).unwrap_err();
    assert_eq!(new(0, vec![class(1, [0])], vec![1.0]), BatchError::NoBatch);
    assert_eq!(new(4, vec![class(0, [0])], vec![1.0]), BatchError::NoSamples);
    assert_eq!(new(4, vec![class(5, [])], vec![1.0]), BatchError::Unheld { class: 0, samples: 5 });
    assert!(matches!(new(4, vec![class(u64::MAX, [0])], vec![1.0]), BatchError::TooMany(_)));
    assert!(matches!(new(4, vec![class(5, [3])], vec![1.0]), BatchError::UnknownRank { .. }));
    assert!(matches!(new(4, vec![class(5, [0])], vec![f64::NAN]), BatchError::Speed { .. }));
}

#[test]
fn even_parts_cover_everything_once() {
    let ranks = ranks([0, 2, 5, 6]);
    for items in [0, 1, 3, 4, 5, 1_003, u64::MAX] {
        let parts: Vec<Range<u64>> = ranks.iter().map(|rank| even_part(items, &ranks, *rank)).collect();
        assert_eq!((parts[0].start, parts[3].end), (0, items));
        assert!(parts.windows(2).all(|pair| pair[0].end == pair[1].start));
        let lengths = parts.iter().map(|part| part.end - part.start);
        assert!(lengths.clone().max().unwrap() - lengths.min().unwrap() <= 1);
    }
    assert_eq!(even_part(10, &ranks, Rank(1)), 0..0);
}

proptest! {
    #[test]
    fn classes_give_their_share_and_never_go_back(
        sizes in prop::collection::vec(0u64..500, 1..6), batch in 1u32..70, first in 0u64..1 << 30
    ) {
        prop_assume!(sizes.iter().any(|size| *size > 0));
        let total: u64 = sizes.iter().sum();
        let plan = plan(batch, sizes.iter().map(|size| class(*size, [0])).collect(), 1);
        for step in first..first + 20 {
            let taken = plan.taken(Step(step));
            // Ranges that ended before they began would overflow here.
            let sum: u64 = taken.iter().map(|range| range.end.checked_sub(range.start).unwrap()).sum();
            prop_assert_eq!(sum, u64::from(batch));
            for (range, size) in taken.iter().zip(&sizes) {
                let exact = (step + 1) as f64 * f64::from(batch) * *size as f64 / total as f64;
                prop_assert!((range.end as f64 - exact).abs() < 3.0, "{} instead of {exact}", range.end);
            }
        }
    }
}
