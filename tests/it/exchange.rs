//! Codecs and lanes: what they change, and what they do not.

use hcrun_tests::Job;

use crate::curves::{Bench, assert_close, digest, losses};

fn steps(count: u32) -> Job {
    Job::text().train(&format!("steps = {count}"))
}

/// Sum of the frame bytes of gradients over all borders.
fn gradient_bytes(run: &hcrun_tests::Run) -> u64 {
    let summary = run.summary();
    assert_eq!(summary["egress_bytes"], summary["planned_egress_bytes"], "{summary}");
    let borders = summary["egress_bytes"].as_object().unwrap().values();
    borders.map(|classes| classes["gradient-sum"].as_u64().unwrap()).sum()
}

#[test]
fn codecs_shorten_what_crosses_and_keep_the_loss() {
    let bench = Bench::new(steps(40));
    let plain = bench.run(&[]);
    let (bytes, expected) = (gradient_bytes(&plain), losses(&plain));
    for (codec, least, tolerance) in
        [("bf16", 1.9, 0.01), ("f16", 1.9, 0.01), ("int8", 3.6, 0.02), ("int4", 6.0, 0.1)]
    {
        for sharded in [true, false] {
            let settings = [format!("exchange.codec=\"{codec}\""), format!("exchange.sharded={sharded}")];
            let run = bench.run(&[&settings[0], &settings[1]]);
            let ratio = bytes as f64 / gradient_bytes(&run) as f64;
            assert!(ratio > least, "{codec}: {ratio} times fewer bytes");
            assert_close(&losses(&run), &expected, tolerance, codec);
            assert_ne!(digest(&run), digest(&plain), "{codec} rounds nothing");
        }
    }
}

#[test]
fn the_number_of_lanes_changes_no_bit() {
    let bench = Bench::new(steps(8));
    let one = bench.run(&[]);
    for lanes in ["exchange.lanes=2", "exchange.lanes=3"] {
        let more = bench.run(&[lanes]);
        assert_eq!(losses(&more), losses(&one), "{lanes}");
        assert_eq!(digest(&more), digest(&one), "{lanes}");
        assert_eq!(gradient_bytes(&more), gradient_bytes(&one), "{lanes}");
    }
}

#[test]
fn one_zone_may_use_any_algorithm_and_codec() {
    let mut job = steps(8);
    job.head = job.head.replace("public = 2", "public = 0").replace("private = 2", "private = 3");
    let bench = Bench::new(job);
    let direct = bench.run(&["exchange.algorithm=\"direct\""]);
    for algorithm in ["ring", "one-shot", "zoned"] {
        let run = bench.run(&[&format!("exchange.algorithm=\"{algorithm}\"")]);
        assert_eq!(digest(&run), digest(&direct), "{algorithm}");
    }
    let int8 = bench.run(&["exchange.algorithm=\"direct\"", "exchange.codec=\"int8\""]);
    assert_close(&losses(&int8), &losses(&direct), 0.05, "int8");
}
