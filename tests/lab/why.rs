//! `hcrun why` of a simulation.

use hcrun_tests::lab;

#[test]
fn a_job_that_is_still_to_come_is_excluded_from_nothing() {
    let lab = lab!();
    lab.write("jobs.csv", "id,submit,duration,gpus\na,0,100,4\nb,50,10,4\n");
    let why = |at: &str| {
        let args = [
            "why",
            "b",
            "--trace",
            "csv:jobs.csv",
            "--cluster",
            "pool:4",
            "--strategy",
            "fifo-skip",
            "--at",
            at,
        ];
        lab.hcrun(args).succeed().stdout
    };
    let future = why("10");
    assert!(future.contains("it is not submitted until 50 s"), "{future}");
    assert!(future.contains("0 of 4 free") && !future.contains("excluded"), "{future}");
    let waiting = why("60");
    assert!(waiting.contains("it needs 4 devices, and 0 that may run it are free"), "{waiting}");
}
