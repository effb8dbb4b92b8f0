//! A run that was stopped or killed and goes on is the run that was never stopped.

use std::time::Duration;

use hcrun_tests::{Job, Run, Signal};

use crate::curves::{Bench, assert_close, digest, losses};

const LIMIT: Duration = Duration::from_secs(30);

/// More than are ever done: runs are disturbed, or end at a number of steps laid over it.
const STEPS: &str = "steps = 1000000\ncheckpoint_every = 20\nevaluate_every = 50";

#[derive(Clone, Copy, PartialEq)]
enum End {
    Stopped,
    WorkerKilled,
    LauncherKilled,
}

#[test]
fn a_stopped_table_goes_on_to_the_same_bits() {
    same_bits(Job::tables(), &[], End::Stopped);
}

#[test]
fn a_stopped_text_goes_on_to_the_same_bits() {
    same_bits(Job::text(), &["exchange.sharded=false"], End::Stopped);
}

#[test]
fn a_table_whose_worker_was_killed_goes_on_to_the_same_bits() {
    same_bits(Job::tables(), &["exchange.sharded=false"], End::WorkerKilled);
}

#[test]
fn a_text_whose_launcher_was_killed_goes_on_to_the_same_bits() {
    same_bits(Job::text(), &[], End::LauncherKilled);
}

/// What a batch holds does not depend on who computes it.
#[test]
fn with_other_workers_the_losses_stay() {
    for job in [Job::tables(), Job::text()] {
        let bench = Bench::new(job.train(STEPS));
        let whole = losses(&bench.run(&["train.steps=40"]));
        bench.run(&["train.steps=20"]);
        let more = ["workers.public=0", "workers.private=3", "train.steps=40"];
        let args = ["resume", "latest", "--quiet"].into_iter();
        bench.lab.hcrun(args.chain(more.iter().flat_map(|setting| ["--set", *setting]))).succeed();
        let run = bench.lab.run();
        assert_eq!(run.summary()["workers"].as_array().unwrap().len(), 3);
        assert_close(&whole, &losses(&run), 1e-3, "resumed with other workers");
    }
}

/// The rows of training itself, so that some of them were held out: as right as training says it is.
#[test]
fn a_model_predicts_what_it_was_evaluated_on() {
    let job = Job::tables().train("steps = 200");
    let rows: Vec<String> = job.shards[1].contents.lines().skip(1).map(str::to_owned).collect();
    let bench = Bench::new(job);
    let run = bench.run(&["train.learning_rate=0.03"]);
    let evaluated = run.summary()["eval"]["accuracy"].as_f64().unwrap();
    let predict = || bench.lab.hcrun(["predict", "latest", "open.csv"]).succeed().stdout;
    let predicted = predict();
    assert_eq!(predicted, predict());
    let classes: Vec<&str> = predicted.lines().skip(1).map(|line| line.split(',').next().unwrap()).collect();
    assert_eq!(classes.len(), rows.len());
    let right = rows.iter().zip(&classes).filter(|(row, class)| row.rsplit(',').next() == Some(**class));
    let accuracy = right.count() as f64 / rows.len() as f64;
    assert!(evaluated > 0.9, "the label follows from the row: {evaluated}");
    assert!((accuracy - evaluated).abs() < 0.08, "{accuracy} of all rows, {evaluated} of those held out");
}

fn same_bits(job: Job, settings: &[&str], end: End) {
    let bench = Bench::new(job.train(STEPS));
    let run = disturbed(&bench, settings, end);
    let steps = format!("train.steps={}", run.steps() + 30);
    bench.lab.hcrun(["resume", "latest", "--quiet", "--set", &steps]).succeed();
    assert_eq!(run.summary()["status"], "done");
    let whole = bench.run(&[settings, &[&steps]].concat());
    assert_eq!(losses(&run), losses(&whole));
    assert_eq!(digest(&run), digest(&whole));
}

/// Starts the job, and ends it after its first checkpoint.
fn disturbed(bench: &Bench, settings: &[&str], end: End) -> Run {
    let args = ["run", "job.toml", "--quiet"].into_iter();
    let mut launcher =
        bench.lab.hcrun(args.chain(settings.iter().flat_map(|setting| ["--set", *setting]))).start();
    let run = launcher.run();
    run.wait_event(&mut launcher, "checkpoint");
    match end {
        End::Stopped => launcher.signal(Signal::INT),
        End::WorkerKilled => hcrun_tests::signal(run.worker("public-1"), Signal::KILL),
        End::LauncherKilled => launcher.signal(Signal::KILL),
    }
    let ended = launcher.end_within(LIMIT);
    let expected = match end {
        End::Stopped => Some(130),
        End::WorkerKilled => Some(75),
        End::LauncherKilled => None,
    };
    assert_eq!(ended.code(), expected, "{ended}");
    run
}
