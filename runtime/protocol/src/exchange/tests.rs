use super::*;

use crate::job::Exchange;
use crate::units::{Bytes, padded_elems};

fn job(sharded: bool, min_contributors: u16) -> Job {
    let text = r#"{
        "name": "test",
        "model": { "kind": "mlp", "hidden": [8] },
        "data": { "format": "text", "held_out": 0.1 },
        "train": { "loss": "mse", "optimizer": "sgd", "learning_rate": 0.1, "batch": 8, "steps": 10 },
        "workers": { "private": 2 },
        "shard": []
    }"#;
    let mut job: Job = serde_json::from_str(text).unwrap();
    job.exchange = Exchange {
        sharded,
        bucket_bytes: Bytes(64 << 10),
        segment_bytes: Bytes(16 << 10),
        ..Exchange::default()
    };
    job.policy.min_contributors = min_contributors;
    job
}

fn profile(elems: usize) -> ModelProfile {
    ModelProfile {
        segments: Vec::new(),
        arena_elems: padded_elems(elems),
        parameters: elems,
        flops_per_sample: 0.0,
        activation_bytes_per_sample: 0,
    }
}

fn zones(sizes: &[u16]) -> Vec<Vec<Rank>> {
    let mut next = 0;
    let zone = |size: &u16| {
        let ranks = (next..next + size).map(Rank).collect();
        next += size;
        ranks
    };
    sizes.iter().map(zone).collect()
}

#[test]
fn every_zone_updates_the_whole_arena_once() {
    for sizes in [&[1][..], &[3], &[2, 2], &[2, 3], &[3, 2, 4]] {
        let zones = zones(sizes);
        let plan = ExchangePlan::new(&job(true, 1), &zones, &profile(50_000)).unwrap();
        for zone in &zones {
            let mut ranges: Vec<_> = zone.iter().flat_map(|rank| plan.updated(*rank)).collect();
            ranges.sort_by_key(|range| range.start);
            let arena = profile(50_000).arena_elems;
            assert_eq!((ranges[0].start, ranges[ranges.len() - 1].end), (0, arena));
            assert!(ranges.windows(2).all(|pair| pair[0].end == pair[1].start), "{sizes:?}: {ranges:?}");
            assert!(ranges.iter().all(|range| range.start % plan.chunk_elems() == 0));
        }
    }
}

#[test]
fn norms_and_parameters_come_from_the_owners_of_the_gradient() {
    let zones = zones(&[2, 3]);
    let plan = ExchangePlan::new(&job(true, 2), &zones, &profile(50_000)).unwrap();
    let norms = plan.norms().unwrap();
    assert_eq!(norms.schedule.elems() * plan.chunk_elems(), profile(50_000).arena_elems);
    for rank in zones.concat() {
        for (gradient, parameters) in plan.gradients().iter().zip(plan.parameters()) {
            assert_eq!(gradient.schedule.owned(rank), parameters.schedule.owned(rank));
        }
        let chunks = norms.schedule.owned(rank).iter();
        let in_elems = chunks.map(|range| range.start * plan.chunk_elems()..range.end * plan.chunk_elems());
        assert_eq!(in_elems.collect::<Vec<_>>(), plan.updated(rank));
    }
}

#[test]
fn tags_are_unique() {
    for sharded in [true, false] {
        let plan = ExchangePlan::new(&job(sharded, 2), &zones(&[2, 2]), &profile(50_000)).unwrap();
        let statistics = plan.statistics(9).unwrap();
        let mut tags: Vec<u32> = plan.step_rounds().map(|round| round.tag).collect();
        tags.extend([plan.evaluation().tag, statistics.tag]);
        let count = tags.len();
        tags.sort_unstable();
        tags.dedup();
        assert_eq!(tags.len(), count);
    }
}

#[test]
fn only_sums_and_metrics_cross_and_their_bytes_are_known() {
    // 49 chunks of 1,024 f32 in buckets of 16: each zone sends every element once to each other zone.
    let plan = ExchangePlan::new(&job(true, 2), &zones(&[2, 2]), &profile(50_000)).unwrap();
    let bytes = plan.bytes_per_step();
    assert_eq!(bytes.len(), 2);
    for classes in bytes.values() {
        assert_eq!(classes.keys().collect::<Vec<_>>(), [&FrameClass::GradientSum, &FrameClass::Metrics]);
        // Three buckets of 2 × 8 chunks in segments of 4 chunks, one of one chunk.
        let sums = classes[&FrameClass::GradientSum];
        assert_eq!((sums.frames, sums.bytes), (13, 49 * 4096 + 13 * 64));
        assert_eq!(classes[&FrameClass::Metrics], Flow { frames: 1, bytes: 64 + 4 * 8 });
    }
    let evaluation = plan.bytes_per_evaluation();
    assert_eq!(evaluation[&Border { from: 0, to: 1 }][&FrameClass::Metrics].bytes, 64 + 5 * 8);
    let statistics = plan.bytes_of_statistics(6).unwrap();
    assert_eq!(statistics[&Border { from: 1, to: 0 }][&FrameClass::Statistics].bytes, 64 + 6 * 8);
}

#[test]
fn a_zone_with_too_few_workers_is_refused() {
    let refused = ExchangePlan::new(&job(true, 2), &zones(&[2, 1]), &profile(5_000)).unwrap_err();
    let too_few = Violation::TooFewContributors { zone: 1, got: 1, needed: 2 };
    assert_eq!(
        refused,
        ExchangeError::Violation { kind: RoundKind::Gradient { bucket: 0 }, source: too_few }
    );
    assert!(ExchangePlan::new(&job(true, 2), &zones(&[1]), &profile(5_000)).is_ok());
}

#[test]
fn node_groups_change_neither_updates_nor_tags_nor_bytes_at_a_border() {
    let nodes = [vec![Rank(0), Rank(2)], vec![Rank(3), Rank(4)]];
    for sharded in [true, false] {
        let plan = ExchangePlan::new(&job(sharded, 2), &zones(&[3, 2]), &profile(50_000)).unwrap();
        let grouped = plan.clone().with_node_groups(&nodes).unwrap();
        assert_eq!(grouped.bytes_per_step(), plan.bytes_per_step());
        for rank in (0..5).map(Rank) {
            assert_eq!(grouped.updated(rank), plan.updated(rank));
        }
        for (grouped, plain) in grouped.step_rounds().zip(plan.step_rounds()) {
            assert_eq!((grouped.tag, grouped.kind), (plain.tag, plain.kind));
            let is_bucket = matches!(plain.kind, RoundKind::Gradient { .. } | RoundKind::Parameters { .. });
            assert_eq!(grouped.schedule.node_group(Rank(0)).is_some(), is_bucket);
        }
        assert_eq!(plan.clone().with_node_groups(&[]).unwrap(), plan);
        let over_a_border = plan.with_node_groups(&[vec![Rank(2), Rank(3)]]);
        assert!(matches!(over_a_border, Err(ExchangeError::Schedule { .. })), "{over_a_border:?}");
    }
}
