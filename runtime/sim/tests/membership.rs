//! Whole jobs under delay, loss, crashes, stalls and cuts, over many seeds.
//!
//! One seed again: `MEMBERSHIP_SEED=17 cargo test -p hcrun-sim`. More of them: `cargo xtask sim --seeds 2000`.
#![expect(clippy::unwrap_used, reason = "a test may fail by panic")]

use hcrun_protocol::coordinator::{Event, Failure, FailureKind, Outcome};
use hcrun_protocol::{Prng, Rank, Span, Step, Time};
use hcrun_sim::membership::{Job, Launcher, Leave, Party, Worker};
use hcrun_sim::{Fault, Link, World};

const SEEDS: u64 = 200;
const DETECT_WITHIN: Span = Span::from_secs(5);
/// More steps than there is time for.
const LONG: u64 = 1_000_000;
const END: Time = Time(120_000_000);

fn job(prng: &mut Prng) -> Job {
    Job {
        workers: 1 + usize::try_from(prng.below(5)).unwrap(),
        steps: 1 + prng.below(30),
        checkpoint_every: 1 + prng.below(12),
        detect_within: DETECT_WITHIN,
        longest_step: Span(2_000 + prng.below(400_000)),
        stalls: None,
        diverges: None,
        stop_at: None,
    }
}

fn world(job: &Job, seed: u64) -> World<Party> {
    let link = |from, to| {
        let mut prng = Prng::keyed(&[seed, 4, from as u64, to as u64]);
        Link {
            delay: Span(50 + prng.below(30_000)),
            jitter: Span(prng.below(20_000)),
            loss: prng.uniform() * 0.05,
            repeat: prng.uniform() * 0.1,
            resend_after: Span(50_000),
            in_order: true,
        }
    };
    let mut world = World::new(seed, job.parties(seed), link);
    let mut prng = Prng::keyed(&[seed, 5]);
    world.start(job.workers, Time::ZERO);
    (0..job.workers).for_each(|rank| world.start(rank, Time(prng.below(800_000))));
    world
}

fn launcher(world: &World<Party>) -> &Launcher {
    world.nodes().last().unwrap().launcher().unwrap()
}

fn workers(world: &World<Party>) -> Vec<&Worker> {
    world.nodes().iter().filter_map(Party::worker).collect()
}

fn failure(world: &World<Party>) -> (Time, &Failure) {
    match &launcher(world).ended {
        Some((at, Outcome::Failed(failure))) => (*at, failure),
        other => panic!("{other:?}"),
    }
}

/// Steps are committed one after the other, and only committed ones are stored.
fn check_order(world: &World<Party>) {
    let mut next = Step(0);
    for event in &launcher(world).events {
        match event {
            Event::Committed { step, .. } => {
                assert_eq!(*step, next);
                next = next.next();
            }
            Event::Stored { step } => assert!(*step < next, "stored step {step} before it was committed"),
            _ => {}
        }
    }
}

/// Runs the check for every seed (or the one asked for) and names the seed that fails.
#[expect(clippy::disallowed_methods, reason = "how a person asks for seeds; nothing simulated sees it")]
fn for_each_seed(check: fn(u64)) {
    let number = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let count = number("HCRUN_SIM_SEEDS").unwrap_or(SEEDS);
    let seeds = number("MEMBERSHIP_SEED").map_or(0..count, |seed| seed..seed + 1);
    for seed in seeds {
        if std::panic::catch_unwind(|| check(seed)).is_err() {
            panic!(
                "seed {seed} fails as printed above; again: MEMBERSHIP_SEED={seed} cargo test -p hcrun-sim"
            );
        }
    }
}

#[test]
fn without_faults_every_job_is_done_and_stored() {
    for_each_seed(|seed| {
        let job = job(&mut Prng::keyed(&[seed]));
        let mut world = world(&job, seed);
        world.run_until(END);
        let launcher = launcher(&world);
        assert_eq!(launcher.ended.as_ref().map(|(_, end)| end), Some(&Outcome::Done { steps: job.steps }));
        for worker in workers(&world) {
            assert!(matches!(worker.left, Some((_, Leave::Released))), "{:?}", worker.left);
        }
        let stored = launcher.events.iter().rev().find_map(|event| match event {
            Event::Stored { step } => Some(*step),
            _ => None,
        });
        assert_eq!(stored, Some(Step(job.steps - 1)));
        check_order(&world);
    });
}

/// Its timer comes after what it has to say, each time.
#[test]
fn a_worker_of_many_steps_per_heartbeat_gets_on() {
    const DETECT_WITHIN: Span = Span::from_millis(1_500);
    for seed in 0..3 {
        let (workers, steps, longest_step) = (1, 60_000, Span(100));
        let idle = job(&mut Prng::keyed(&[seed]));
        let job = Job {
            workers,
            steps,
            longest_step,
            checkpoint_every: steps,
            detect_within: DETECT_WITHIN,
            ..idle
        };
        let mut world = world(&job, seed);
        world.run_until(END);
        let (at, end) = launcher(&world).ended.as_ref().unwrap();
        assert_eq!(end, &Outcome::Done { steps }, "seed {seed}");
        assert!(*at > Time::ZERO + DETECT_WITHIN + DETECT_WITHIN, "seed {seed}: too short to tell, {at:?}");
    }
}

#[test]
fn a_killed_worker_stops_the_job_in_time_and_is_named() {
    for_each_seed(|seed| {
        let mut prng = Prng::keyed(&[seed]);
        let job = Job { steps: LONG, ..job(&mut prng) };
        let mut world = world(&job, seed);
        let killed = usize::try_from(prng.below(job.workers as u64)).unwrap();
        // All have joined by then; a link that breaks is noticed soon, late or never.
        let at = Time(2_000_000 + prng.below(6_000_000));
        let noticed_after = [Some(Span(prng.below(50_000))), Some(Span(prng.below(8_000_000))), None];
        let noticed_after = noticed_after[usize::try_from(prng.below(3)).unwrap()];
        world.break_at(at, Fault::Crash { node: killed, noticed_after });
        world.run_until(END);
        let (ended, failure) = failure(&world);
        assert!(ended <= at + DETECT_WITHIN, "took {}", ended.since(at));
        assert_eq!(failure.slot, Some(Job::slot(killed)), "{failure:?}");
        assert!(failure.node.is_some() && failure.zone.is_some());
        for (rank, worker) in workers(&world).into_iter().enumerate().filter(|(rank, _)| *rank != killed) {
            let (left, why) = worker.left.as_ref().unwrap_or_else(|| panic!("worker {rank} hangs"));
            assert!(*left <= at + DETECT_WITHIN, "worker {rank} left {} later: {why:?}", left.since(at));
        }
        check_order(&world);
    });
}

#[test]
fn workers_outlive_a_lost_coordinator_by_no_more_than_the_limit() {
    for_each_seed(|seed| {
        let mut prng = Prng::keyed(&[seed]);
        let job = Job { steps: LONG, ..job(&mut prng) };
        let mut world = world(&job, seed);
        let at = Time(2_000_000 + prng.below(6_000_000));
        world.break_at(at, Fault::Crash { node: job.workers, noticed_after: None });
        world.run_until(END);
        for (rank, worker) in workers(&world).into_iter().enumerate() {
            let (left, why) = worker.left.as_ref().unwrap_or_else(|| panic!("worker {rank} hangs"));
            assert!(*left <= at + DETECT_WITHIN, "worker {rank} left {} later: {why:?}", left.since(at));
        }
    });
}

#[test]
fn a_worker_cut_off_from_its_coordinator_is_named() {
    for_each_seed(|seed| {
        let mut prng = Prng::keyed(&[seed]);
        let job = Job { steps: LONG, ..job(&mut prng) };
        let mut world = world(&job, seed);
        let cut = usize::try_from(prng.below(job.workers as u64)).unwrap();
        let at = Time(2_000_000 + prng.below(6_000_000));
        world.break_at(at, Fault::Cut { between: (cut, job.workers), noticed_after: None });
        world.run_until(END);
        let (ended, failure) = failure(&world);
        assert!(ended <= at + DETECT_WITHIN, "took {}", ended.since(at));
        assert_eq!(failure.slot, Some(Job::slot(cut)), "{failure:?}");
        for (rank, worker) in workers(&world).into_iter().enumerate() {
            assert!(worker.left.is_some(), "worker {rank} hangs");
        }
    });
}

#[test]
fn a_cut_between_two_workers_names_one_of_them() {
    for_each_seed(|seed| {
        let mut prng = Prng::keyed(&[seed]);
        let mut job = Job { steps: LONG, ..job(&mut prng) };
        job.workers = job.workers.max(2);
        let mut world = world(&job, seed);
        let first = usize::try_from(prng.below(job.workers as u64)).unwrap();
        let second = (first + 1) % job.workers;
        let noticed_after = Some(Span(prng.below(4_000_000)));
        let at = Time(2_000_000 + prng.below(6_000_000));
        world.break_at(at, Fault::Cut { between: (first, second), noticed_after });
        world.run_until(END);
        let (ended, failure) = failure(&world);
        assert!(ended <= at + DETECT_WITHIN, "took {}", ended.since(at));
        let named = failure.slot.clone().unwrap();
        assert!(named == Job::slot(first) || named == Job::slot(second), "{failure:?}");
        assert!(workers(&world).iter().all(|worker| worker.left.is_some()));
    });
}

#[test]
fn a_stalled_worker_is_told_from_those_that_wait_for_it() {
    for_each_seed(|seed| {
        let mut prng = Prng::keyed(&[seed]);
        let mut job = Job { steps: LONG, longest_step: Span(100_000), ..job(&mut prng) };
        let stalled = Rank(u16::try_from(prng.below(job.workers as u64)).unwrap());
        job.stalls = Some((stalled, Step(prng.below(20))));
        let mut world = world(&job, seed);
        world.run_until(END);
        let (_, failure) = failure(&world);
        assert_eq!(
            (failure.slot.clone(), failure.kind),
            (Some(Job::slot(stalled.index())), FailureKind::Stalled)
        );
        assert!(workers(&world).iter().all(|worker| worker.left.is_some()));
    });
}

#[test]
fn a_diverging_worker_is_outvoted_at_its_step() {
    for_each_seed(|seed| {
        let mut prng = Prng::keyed(&[seed]);
        let mut job = job(&mut prng);
        job.workers = job.workers.max(3);
        let diverges = Rank(u16::try_from(prng.below(job.workers as u64)).unwrap());
        let step = Step(prng.below(job.steps));
        job.diverges = Some((diverges, step));
        let mut world = world(&job, seed);
        world.run_until(END);
        let (_, failure) = failure(&world);
        assert_eq!(
            (failure.slot.clone(), failure.kind),
            (Some(Job::slot(diverges.index())), FailureKind::Divergence)
        );
        assert!(failure.text.contains(&format!("after step {step} in bucket 1")), "{}", failure.text);
        assert_eq!(failure.committed, step.0.checked_sub(1).map(Step));
        check_order(&world);
    });
}

#[test]
fn a_graceful_stop_ends_all_at_one_step_with_a_checkpoint() {
    for_each_seed(|seed| {
        let mut prng = Prng::keyed(&[seed]);
        let stop_at = Some(Time(prng.below(6_000_000)));
        let job = Job { steps: LONG, stop_at, ..job(&mut prng) };
        let mut world = world(&job, seed);
        world.run_until(END);
        let launcher = launcher(&world);
        let Some((_, Outcome::Stopped { steps })) = launcher.ended else { panic!("{:?}", launcher.ended) };
        if steps > 0 {
            let stored = Event::Stored { step: Step(steps - 1) };
            assert!(launcher.events.contains(&stored), "no checkpoint after {steps} steps");
        }
        assert!(workers(&world).iter().all(|worker| worker.left.is_some()));
        check_order(&world);
    });
}

#[test]
fn equal_seeds_give_equal_traces() {
    for_each_seed(|seed| {
        let trace = || {
            let job = job(&mut Prng::keyed(&[seed]));
            let mut world = world(&job, seed);
            let fault = Fault::Crash { node: 0, noticed_after: Some(Span(70_000)) };
            world.break_at(Time(2_500_000), fault);
            world.run_until(END);
            world.trace().to_owned()
        };
        assert!(trace() == trace(), "two runs of one seed differ");
    });
}
