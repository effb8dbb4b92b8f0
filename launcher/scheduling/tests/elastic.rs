//! Elastic jobs under strategies that resize them, on a small profile made up for it.
#![expect(clippy::unwrap_used, reason = "helpers of tests, which clippy takes for other code")]

use std::sync::Arc;

use hcrun_protocol::prng::Prng;
use hcrun_protocol::time::{Span, Time};
use hcrun_scheduling::goodput::{
    Batch, BatchLimits, Epoch, Measured, NoiseScale, Profile, ProfiledSpeed, StepTime, StepTimes, packed,
};
use hcrun_scheduling::job::{Class, DeviceRange};
use hcrun_scheduling::simulator::{Checks, Observer, Outcome, observe, simulate};
use hcrun_scheduling::strategy::{Action, Reason};
use hcrun_scheduling::{Decision, Fleet, JobSpec, State, Workload, strategies};

const ELASTIC: [&str; 2] = ["demand", "sia"];
const ITERATIONS: f64 = 20_000.0;

/// Computing takes 10 ms a sample and 50 ms a step; waiting for others 10 ms more with each, and 40 ms with each node.
fn profile(epochs: u32, noise: f64) -> Arc<Profile> {
    let mut measured = Vec::new();
    for devices in 1..=16 {
        for local_batch in [4, 8, 16, 32] {
            let per_node = packed(devices, 4);
            let nodes = u32::try_from(per_node.len()).unwrap();
            let sync = 0.01 * f64::from(devices - 1) + 0.04 * f64::from(nodes - 1);
            let time = StepTime { step: 0.05 + 0.01 * f64::from(local_batch) + sync, sync };
            measured.push(Measured { nodes, replicas: devices, per_node: Some(per_node), local_batch, time });
        }
    }
    let run = || {
        let epoch = |epoch: u32| Epoch {
            square: 1.0,
            variance: noise * f64::from(epoch),
            progress: ITERATIONS * f64::from(epoch) / f64::from(epochs),
        };
        (1..=epochs).map(epoch).collect::<Vec<_>>()
    };
    let noise = NoiseScale::new(vec![(8, run()), (512, run())]);
    let limits = BatchLimits { initial: 8, max: 512, local_min: 4, local_max: 32 };
    Arc::new(Profile::new(limits, StepTimes::new(&measured), noise, 4))
}

fn job(profile: &Arc<Profile>, number: usize, submit_s: u64, devices: DeviceRange) -> JobSpec {
    let mut job = JobSpec::rigid(format!("job-{number}"), Time(submit_s * 1_000_000), 1, Span(0));
    let speed = ProfiledSpeed::new(profile, &packed(devices.requested, 4), 64, Batch::Tuned);
    (job.work, job.estimate, job.devices) = (speed.work(), speed.work(), devices);
    job.speed = Some(Arc::new(speed));
    job.start_overhead = Span::from_secs(30);
    job
}

fn fleet() -> Arc<Fleet> {
    Arc::new(Fleet::uniform(4, 4).unwrap())
}

fn run(name: &str, jobs: &[JobSpec], observer: &mut impl Observer) -> Outcome {
    let mut strategy = strategies::by_name(name).unwrap();
    let workload = Workload::new(jobs.to_vec()).unwrap();
    observe(&fleet(), workload, &mut strategy, Checks::Everything, observer).unwrap()
}

/// A queue that arrives at random, of all sorts of jobs.
fn mixed(seed: u64) -> Vec<JobSpec> {
    let (mut prng, profile) = (Prng::new(seed), profile(5, 8.0));
    let jobs = (0..24).map(|number| {
        let (submit, min) = (prng.below(6_000), u32::try_from(prng.below(5)).unwrap() + 1);
        let requested = min + u32::try_from(prng.below(4)).unwrap();
        let max = if number % 5 == 0 { requested } else { 16 };
        let min = if number % 5 == 0 { requested } else { min };
        job(&profile, number, submit, DeviceRange { min, requested, max })
    });
    jobs.collect()
}

#[test]
fn goodput_grows_with_devices_but_less_than_in_proportion() {
    let profile = profile(2, 50.0);
    for epoch in 0..2 {
        let goodput = |devices| profile.goodput(&packed(devices, 4), Batch::Tuned, epoch);
        for (fewer, more) in [(1, 2), (2, 3), (3, 4), (4, 8), (8, 12), (12, 16)] {
            assert!(goodput(more) > goodput(fewer), "{more} devices are slower than {fewer}");
            let proportional = goodput(fewer) * f64::from(more) / f64::from(fewer);
            // A single replica needs two micro-batches for a batch above the smallest, several do not.
            let slack = if fewer == 1 { 1.1 } else { 1.0 };
            assert!(goodput(more) < proportional * slack, "{more} devices against {fewer}");
        }
        for batch in [8, 64, 256, 512] {
            let tuned = goodput(8);
            let given = profile.goodput(&packed(8, 4), Batch::Given(batch), epoch);
            assert!(given <= tuned * 1.01, "a batch of {batch} beats the tuned one: {given} {tuned}");
        }
    }
    let worth = |epoch| profile.goodput(&packed(16, 4), Batch::Tuned, epoch);
    assert!(worth(1) > worth(0), "more noise, more use of a large batch");
}

#[test]
fn a_lone_job_gets_all_that_it_may_have() {
    let profile = profile(3, 50.0);
    for name in ELASTIC {
        for (max, expected) in [(16, 16), (8, 8), (2, 2)] {
            let devices = DeviceRange { min: 1, requested: 1, max };
            let mut sizes = Sizes::default();
            let outcome = run(name, &[job(&profile, 0, 0, devices)], &mut sizes);
            assert_eq!(outcome.jobs[0].starts, 1, "{name}: it moves for nobody");
            assert_eq!(sizes.most, expected, "{name}");
        }
    }
}

/// Devices of running jobs, watched at each instant.
#[derive(Default)]
struct Sizes {
    seen: usize,
    most: u32,
}

impl Observer for Sizes {
    fn settled(&mut self, state: &State) {
        for index in state.running() {
            let job = state.job(index);
            let devices = job.allocation.devices();
            let range = job.spec.devices;
            assert!((range.min..=range.max).contains(&devices), "{devices} devices of {range:?}");
            self.seen += 1;
            self.most = self.most.max(devices);
        }
    }
}

#[test]
fn nobody_runs_below_its_least_or_above_its_most() {
    for name in ELASTIC {
        let mut sizes = Sizes::default();
        let outcome = run(name, &mixed(1), &mut sizes);
        assert!(sizes.seen > 100);
        assert!(outcome.jobs.iter().all(|job| job.completion_time().is_some()), "{name}: all are done");
        assert!(outcome.jobs.iter().any(|job| job.starts > 1), "{name}: somebody was resized");
    }
}

#[test]
fn the_same_inputs_give_the_same_outcome() {
    for name in ELASTIC {
        for seed in 0..3 {
            assert_eq!(run(name, &mixed(seed), &mut ()), run(name, &mixed(seed), &mut ()), "{name}");
        }
    }
}

/// Moves and pauses while nobody comes or goes.
#[derive(Default)]
struct Restless {
    jobs: usize,
    moves: usize,
    decisions: usize,
}

impl Observer for Restless {
    fn decided(&mut self, state: &State, decisions: &[Decision]) {
        let active = state.running_count() + state.waiting_count();
        if std::mem::replace(&mut self.jobs, active) == active {
            self.decisions += 1;
            let stops = |decision: &&Decision| matches!(decision.action, Action::Stop | Action::Move(_));
            self.moves += decisions.iter().filter(stops).count();
        }
    }
}

/// A start costs 30 s: jobs of equal claims do not take devices from each other.
#[test]
fn a_steady_load_is_left_alone() {
    let profile = profile(1, 20.0);
    for name in ELASTIC {
        for count in [3, 5, 7, 16] {
            let devices = DeviceRange { min: 1, requested: 2, max: 16 };
            let jobs: Vec<JobSpec> = (0..count).map(|number| job(&profile, number, 0, devices)).collect();
            let mut restless = Restless::default();
            run(name, &jobs, &mut restless);
            assert!(restless.decisions > 5, "{name}: {count} jobs");
            assert!(restless.moves <= 1, "{name}: {} moves among {count} steady jobs", restless.moves);
        }
    }
}

#[test]
fn jobs_that_may_not_be_moved_are_not() {
    let profile = profile(3, 50.0);
    let small = DeviceRange { min: 1, requested: 1, max: 16 };
    for name in ELASTIC {
        let mut jobs: Vec<JobSpec> =
            (0..12).map(|number| job(&profile, number, 40 * number as u64, small)).collect();
        jobs[0].preemptible = false;
        jobs[1].class = Class::Guaranteed;
        let outcome = run(name, &jobs, &mut ());
        assert_eq!((outcome.jobs[0].starts, outcome.jobs[1].starts), (1, 1), "{name}");
        assert!(outcome.jobs[2..].iter().any(|job| job.starts > 1), "{name}: others are moved");
    }
}

#[test]
fn what_no_pool_could_run_is_refused() {
    let mut large = job(&profile(1, 1.0), 0, 0, DeviceRange { min: 1, requested: 1, max: 1 });
    large.devices = DeviceRange::rigid(17);
    for name in ELASTIC {
        assert!(run(name, &[large.clone()], &mut ()).jobs[0].refused, "{name}");
    }
}

/// Strategies that do not resize hold jobs to what their owners asked for, batch and all.
#[test]
fn without_elasticity_a_job_takes_what_its_owner_expects() {
    let devices = DeviceRange { min: 1, requested: 4, max: 16 };
    let job = job(&profile(4, 50.0), 0, 0, devices);
    let work = job.work.as_secs_f64();
    let mut strategy = strategies::by_name("fifo-skip").unwrap();
    let workload = Workload::new(vec![job]).unwrap();
    let outcome = simulate(&fleet(), workload, &mut strategy, Checks::Everything).unwrap();
    let took = outcome.completion_times()[0].as_secs_f64();
    assert!((took - 30.0 - work).abs() < 0.01, "{took} s for {work} s of work and 30 s to start");
}

/// Which jobs moved for whom, and the most nodes that the last one lay on.
#[derive(Default)]
struct Moves {
    for_room: Vec<(usize, usize)>,
    nodes: usize,
}

impl Observer for Moves {
    fn decided(&mut self, _state: &State, decisions: &[Decision]) {
        for decision in decisions {
            if let Reason::MakesRoom { to } = decision.reason {
                self.for_room.push((decision.job.index(), to.index()));
            }
        }
    }

    fn settled(&mut self, state: &State) {
        let last = state.jobs().last().unwrap();
        self.nodes = self.nodes.max(last.allocation.parts().len());
    }
}

/// Four pairs fill two nodes; when one of each node is done, a gang of four needs one of the nodes for itself.
#[test]
fn small_jobs_move_together_for_a_gang() {
    let pair = |number: usize, seconds| {
        let mut job = JobSpec::rigid(format!("pair-{number}"), Time::ZERO, 2, Span::from_secs(seconds));
        job.start_overhead = Span::from_secs(1);
        job
    };
    let mut jobs = vec![pair(0, 1_000), pair(1, 70), pair(2, 1_000), pair(3, 70)];
    jobs.push(JobSpec::rigid("gang", Time(100_000_000), 4, Span::from_secs(100)));
    for name in ELASTIC {
        let mut strategy = strategies::by_name(name).unwrap();
        let fleet = Arc::new(Fleet::uniform(2, 4).unwrap());
        let (workload, mut moves) = (Workload::new(jobs.clone()).unwrap(), Moves::default());
        observe(&fleet, workload, &mut strategy, Checks::Everything, &mut moves).unwrap();
        assert_eq!(moves.nodes, 1, "{name}");
        assert!(matches!(moves.for_room[..], [(0 | 2, 4)]), "{name}: {:?}", moves.for_room);
    }
}

/// Two gangs of three on nodes of two share a node; one of 10 s of work, one of 5.
#[test]
fn distributed_jobs_on_one_node_slow_each_other_down() {
    let ends = |interference: f64, seconds: [u64; 2]| {
        let gang = |number: usize| {
            JobSpec::rigid(format!("gang-{number}"), Time::ZERO, 3, Span::from_secs(seconds[number]))
        };
        let fleet = Arc::new(Fleet::uniform(3, 2).unwrap().with_interference(interference));
        let workload = Workload::new(vec![gang(0), gang(1)]).unwrap();
        let mut strategy = strategies::by_name("fifo-skip").unwrap();
        let outcome = simulate(&fleet, workload, &mut strategy, Checks::Everything).unwrap();
        outcome.jobs.iter().map(|job| job.end.unwrap().0 / 1_000_000).collect::<Vec<_>>()
    };
    assert_eq!(ends(0.0, [10, 5]), [10, 5]);
    assert_eq!(ends(0.5, [10, 10]), [20, 20]);
    assert_eq!(ends(0.5, [10, 5]), [15, 10], "alone it is fast again");
}
