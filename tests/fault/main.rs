//! Whole runs in which something is killed, stopped, starved or asked to end.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use hcrun_tests::{Job, lab};

#[test]
fn an_undisturbed_run_leaves_nothing_behind() {
    let lab = lab!();
    Job::tables().train("steps = 5").write(&lab);
    let ended = lab.hcrun(["run", "job.toml"]).succeed();
    println!("{ended}");
    assert_eq!(lab.run().summary()["status"], "done");
}
