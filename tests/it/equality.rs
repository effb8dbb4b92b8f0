//! However many workers share a batch, they train as one would.

use hcrun_tests::Job;

use crate::curves::{Bench, assert_close, digest, distance, losses, parameters};

const ONE: [&str; 2] = ["workers.private=1", "workers.public=0"];

/// Ways to cut the same global batches: workers per zone, then what differs beside.
const MANY: [&[&str]; 9] = [
    &["workers.private=2", "workers.public=0"],
    &["workers.private=3", "workers.public=0", "exchange.sharded=false"],
    &["workers.private=1", "workers.public=1", "policy.min_contributors=1"],
    &["workers.private=2", "workers.public=2"],
    &["workers.private=2", "workers.public=2", "exchange.sharded=false"],
    &["workers.private=2", "workers.public=2", "train.accumulation=3"],
    &["workers.private=3", "workers.public=1", "policy.min_contributors=1"],
    &["workers.private=2", "workers.public=3"],
    &["exchange.bucket_bytes=\"4KiB\"", "exchange.segment_bytes=\"4KiB\""],
];

#[test]
fn twenty_steps_of_a_table_are_those_of_one_worker() {
    same_losses(&Bench::new(tables().train("steps = 20\nclip = 1.0")), &MANY);
}

#[test]
fn twenty_steps_of_a_text_are_those_of_one_worker() {
    same_losses(&Bench::new(Job::text().train("steps = 20\nclip = 1.0")), &MANY);
}

/// A worker that gets no samples, in some steps or in all, joins every round.
#[test]
fn workers_without_samples_change_nothing() {
    let few = Bench::new(tables().train("steps = 20"));
    let small = |workers: [&'static str; 2]| [workers[0], workers[1], "train.batch=3"];
    let one = losses(&few.run(&small(ONE)));
    let four = losses(&few.run(&small(["workers.private=4", "workers.public=0"])));
    assert_close(&one, &four, 1e-3, "a batch smaller than the workers");

    let mut pinned = tables().train("steps = 20");
    pinned.shards.truncate(1);
    let pinned = Bench::new(pinned);
    let one = losses(&pinned.run(&ONE));
    let idle = pinned.run(&["workers.private=2", "workers.public=2"]);
    assert_close(&one, &losses(&idle), 1e-3, "a zone that may hold nothing");
    let summary = idle.summary();
    let public = summary["workers"].as_array().unwrap().iter().filter(|worker| worker["zone"] == "public");
    assert_eq!(public.map(|worker| worker["samples"].as_u64()).collect::<Vec<_>>(), [Some(0), Some(0)]);
}

/// One plain step from the same parameters: what the parameters have moved by is the gradient.
#[test]
fn the_reduced_gradient_is_that_of_one_worker() {
    for job in [tables(), Job::text()] {
        // So long a step that rounding the moved parameters is rounding the gradient.
        let bench = Bench::new(job.train("steps = 1"));
        let plain = ["train.optimizer=\"sgd\"", "train.learning_rate=1000"];
        let run = |settings: &[&'static str]| parameters(&bench.run(&[&plain, settings].concat()));
        let resting = parameters(&bench.run(&[plain[0], "train.learning_rate=1e-30", ONE[0], ONE[1]]));
        let one = run(&ONE);
        let norm = distance(&one, &resting);
        assert!(norm > 1.0, "the step is too short to show a gradient: {norm}");
        for settings in MANY {
            let apart = distance(&run(settings), &one) / norm;
            assert!(apart <= 1e-5, "{settings:?}: the gradient differs by {apart} of its norm");
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_bits_and_another_does_not() {
    for job in [tables(), Job::text()] {
        let bench = Bench::new(job.train("steps = 8"));
        let (first, second, other) = (bench.run(&[]), bench.run(&[]), bench.run(&["seed=2"]));
        assert_eq!((digest(&first), losses(&first)), (digest(&second), losses(&second)));
        assert_ne!(digest(&first), digest(&other));
    }
}

/// As wide as it takes for each of three workers to own a part.
fn tables() -> Job {
    let mut job = Job::tables();
    job.head = job.head.replace("[16]", "[64, 32]");
    job
}

fn same_losses(bench: &Bench, cuts: &[&[&str]]) {
    let one = losses(&bench.run(&ONE));
    assert_eq!(one.len(), 20);
    assert!(one[19] < one[0], "it learns: {one:?}");
    for settings in cuts {
        assert_close(&one, &losses(&bench.run(settings)), 1e-3, &format!("{settings:?}"));
    }
}
