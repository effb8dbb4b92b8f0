//! What `priority` promises: who may stop whom, how few, how soon, and that everybody has a turn.
#![expect(clippy::disallowed_types, reason = "a decision's time is shown, not asserted")]

use std::collections::BTreeSet;
use std::sync::Arc;

use hcrun_protocol::prng::Prng;
use hcrun_protocol::time::{Span, Time};
use hcrun_scheduling::job::{Class, DeviceRange};
use hcrun_scheduling::state::{Phase, Stop};
use hcrun_scheduling::strategy::{Action, Decision, Reason};
use hcrun_scheduling::{Fleet, JobIndex, JobSpec, State, Strategy, Workload, strategies};

const MIN_RUNTIME: Span = Span::from_secs(600);

/// Runs a workload to its end and shows each decision, with the state that it was made in.
fn run(
    fleet: &Arc<Fleet>,
    workload: Workload,
    strategy: &mut Strategy,
    mut see: impl FnMut(&State, &[Decision]),
) -> State {
    let mut state = State::new(Arc::clone(fleet), workload);
    let (mut submitted, mut wake) = (0, None);
    loop {
        let submit = state.jobs().get(submitted).map(|job| job.spec.submit);
        let end = state.running().filter_map(|index| state.job(index).next_change()).min();
        let wake_up = wake.filter(|_| state.running_count() > 0);
        let Some(now) = [submit, end, wake_up].into_iter().flatten().min() else { break };
        state.advance(now);
        let done: Vec<JobIndex> =
            state.running().filter(|index| state.job(*index).is_complete(now)).collect();
        done.into_iter().for_each(|index| state.complete(index));
        while state.jobs().get(submitted).is_some_and(|job| job.spec.submit <= now) {
            state.submit(JobIndex::from_index(submitted));
            submitted += 1;
        }
        let decisions = strategy.decide(&state);
        state.forget_changes();
        see(&state, &decisions);
        for decision in decisions {
            match decision.action {
                Action::Refuse => state.refuse(decision.job),
                Action::Stop => state.stop(decision.job, Stop::Preempted),
                Action::Start(allocation) => state.start(decision.job, allocation),
                Action::Move(_) => unreachable!("priority moves nobody"),
            }
        }
        state.check();
        wake = strategy.next_wake(&state);
        assert!(wake.is_none_or(|wake| wake > now), "time goes on");
    }
    assert!(state.jobs().iter().all(|job| job.phase == Phase::Done), "everybody has a turn");
    state
}

fn any<'a, T>(of: &'a [T], prng: &mut Prng) -> &'a T {
    &of[usize::try_from(prng.below(of.len() as u64)).expect("an index")]
}

fn random_job(row: u64, span_s: u64, prng: &mut Prng) -> JobSpec {
    let devices = *any(&[1, 1, 2, 3, 4, 8, 12], prng);
    let (submit, duration) = (Span::from_secs(prng.below(span_s)), Span::from_secs(1 + prng.below(9_000)));
    let mut job = JobSpec::rigid(row.to_string(), Time::ZERO + submit, devices, duration);
    job.class = *any(&[Class::Opportunistic, Class::Normal, Class::Guaranteed], prng);
    job.tenant = format!("tenant {}", prng.below(4));
    job.weight = 1.0 + prng.uniform();
    job.preemptible = prng.below(8) > 0;
    job.start_overhead = Span::from_secs(prng.below(60));
    job
}

/// Decisions start jobs in the order in which devices were given away: each is looked at with what was free then.
fn check_victims(state: &State, decisions: &[Decision], stopped: &mut BTreeSet<(JobIndex, JobIndex)>) {
    let mut free = state.free().total();
    for start in decisions.iter().filter(|decision| matches!(decision.action, Action::Start(_))) {
        let victims: Vec<JobIndex> = decisions
            .iter()
            .filter(|stop| stop.reason == Reason::Yields { to: start.job })
            .map(|stop| stop.job)
            .collect();
        let wanted = u64::from(state.job(start.job).spec.devices.requested);
        let given: u64 =
            victims.iter().map(|victim| u64::from(state.job(*victim).allocation.devices())).sum();
        for victim in &victims {
            let job = state.job(*victim);
            let class = state.job(start.job).spec.class;
            assert!(job.spec.class < class, "a job yields to a higher class only");
            assert_ne!(job.spec.class, Class::Guaranteed);
            assert!(job.spec.preemptible, "a job that says so is left alone");
            assert!(state.now().since(job.since) >= MIN_RUNTIME, "minimum run time is kept");
            let without = free + given - u64::from(job.allocation.devices());
            assert!(without < wanted, "job {} fits without victim {}", start.job.0, victim.0);
            assert!(!stopped.contains(&(start.job, *victim)), "two jobs stop each other");
            stopped.insert((*victim, start.job));
        }
        free = free + given - wanted;
    }
}

#[test]
fn victims_are_few_of_lower_classes_and_have_run_for_some_time() {
    let mut preemptions = 0;
    for seed in 0..40 {
        let mut prng = Prng::keyed(&[seed]);
        let fleet = Arc::new(Fleet::uniform(1 + u32::try_from(prng.below(4)).unwrap(), 12).unwrap());
        let jobs = (0..120).map(|row| random_job(row, 60_000, &mut prng)).collect();
        let mut strategy = strategies::by_name("priority").unwrap();
        // Victims, each with whom it yielded to.
        let mut stopped = BTreeSet::new();
        run(&fleet, Workload::new(jobs).unwrap(), &mut strategy, |state, decisions| {
            check_victims(state, decisions, &mut stopped);
        });
        preemptions += stopped.len();
    }
    assert!(preemptions > 300, "the workloads preempt: {preemptions}");
}

#[test]
fn a_large_job_has_its_turn_although_small_ones_keep_coming() {
    let (hour, day) = (3_600, 86_400);
    for seed in 0..3 {
        let mut prng = Prng::keyed(&[seed, 1]);
        let fleet = Arc::new(Fleet::flat(8).unwrap());
        // More work than there are devices, for eight days; something always fits that is not large.
        let mut jobs: Vec<JobSpec> = (0..8 * 24 * 9)
            .map(|row| {
                let submit = Time::ZERO + Span::from_secs(row * hour / 9 + prng.below(300));
                JobSpec::rigid(row.to_string(), submit, 1, Span::from_secs(hour / 2 + prng.below(hour)))
            })
            .collect();
        let mut large = JobSpec::rigid("large", Time(Span::from_secs(hour).0), 8, Span::from_secs(hour));
        large.weight = 0.0;
        jobs.push(large);
        let mut strategy = strategies::by_name("priority").unwrap();
        let state = run(&fleet, Workload::new(jobs).unwrap(), &mut strategy, |_, _| {});
        let large = state.jobs().iter().find(|job| job.spec.id == "large").unwrap();
        let waited = large.first_start.unwrap().since(large.spec.submit);
        // Patience, the age that makes up for size and weight, and what runs then.
        assert!(waited <= Span::from_secs(3 * day), "the large job waited {waited}");
    }
}

#[test]
fn an_opportunistic_job_passes_normal_ones_in_the_end() {
    let day = 86_400;
    let fleet = Arc::new(Fleet::flat(1).unwrap());
    let stream = (0..40 * 30).map(|row| {
        let submit = Time::ZERO + Span::from_secs(row * day / 30);
        JobSpec::rigid(row.to_string(), submit, 1, Span::from_secs(day / 28))
    });
    let mut jobs: Vec<JobSpec> = stream.collect();
    let mut patient = JobSpec::rigid("patient", Time(1), 1, Span::from_secs(60));
    patient.class = Class::Opportunistic;
    jobs.push(patient);
    let mut strategy = strategies::by_name("priority").unwrap();
    let state = run(&fleet, Workload::new(jobs).unwrap(), &mut strategy, |_, _| {});
    let patient = state.jobs().iter().find(|job| job.spec.id == "patient").unwrap();
    let waited = patient.first_start.unwrap().since(patient.spec.submit);
    // Half the class weight is ten days of age, and the queue grows by two jobs a day.
    assert!(waited > Span::from_secs(day) && waited < Span::from_secs(16 * day), "it waited {waited}");
}

#[test]
fn a_waiting_job_takes_devices_as_soon_as_minimum_run_time_lets_it() {
    let fleet = Arc::new(Fleet::flat(1).unwrap());
    let low = JobSpec::rigid("low", Time::ZERO, 1, Span::from_secs(100_000));
    let mut high = JobSpec::rigid("high", Time::ZERO + Span::from_secs(60), 1, Span::from_secs(60));
    high.class = Class::Guaranteed;
    let mut strategy = strategies::by_name("priority").unwrap();
    let state = run(&fleet, Workload::new(vec![low, high]).unwrap(), &mut strategy, |_, _| {});
    assert_eq!(state.jobs()[1].first_start, Some(Time::ZERO + MIN_RUNTIME));
    assert_eq!(state.jobs()[0].preemptions, 1);
}

#[test]
fn ten_thousand_waiting_jobs_are_decided_on() {
    let mut prng = Prng::new(5);
    let fleet = Arc::new(Fleet::uniform(32, 8).unwrap());
    let jobs = (0..10_400u64).map(|row| {
        let mut job = random_job(row, 1_000, &mut prng);
        job.devices = DeviceRange::rigid(1 << prng.below(5));
        job
    });
    let mut state = State::new(fleet, Workload::new(jobs.collect()).unwrap());
    let mut strategy = strategies::by_name("priority").unwrap();
    state.advance(Time::ZERO + Span::from_secs(1_000));
    (0..10_400).for_each(|index| state.submit(JobIndex(index)));
    for minute in 0..20 {
        state.advance(Time::ZERO + Span::from_secs(1_000 + 60 * minute));
        let start = std::time::Instant::now();
        let decisions = strategy.decide(&state);
        let (elapsed, waiting) = (start.elapsed(), state.waiting_count());
        if minute % 5 == 0 {
            eprintln!("{waiting} jobs wait: {} decisions in {elapsed:?}", decisions.len());
        }
        state.forget_changes();
        for decision in decisions {
            match decision.action {
                Action::Start(allocation) => state.start(decision.job, allocation),
                Action::Stop => state.stop(decision.job, Stop::Preempted),
                _ => unreachable!("all fit the fleet, and none is moved"),
            }
        }
    }
    assert!(state.waiting_count() > 10_000);
}
