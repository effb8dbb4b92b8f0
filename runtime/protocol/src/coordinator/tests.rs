use super::hear::MAX_SKIPPED;
use super::*;
use crate::control::{
    Activity, AssignedDevice, Assignment, Build, EvaluationSums, FailureClass, FailureReport, NodeGroupId,
    NodeGroupOffer, PROTOCOL_VERSION, Refusal, SentBytes, StepReport, ToCoordinator,
};
use crate::ids::{Generation, JobId};

const DETECT: Span = Span::from_secs(5);

fn slot(index: u16) -> SlotId {
    SlotId::parse(&format!("private-{index}")).unwrap()
}

fn zone() -> ZoneId {
    ZoneId::new("private").unwrap()
}

fn build() -> Build {
    Build { protocol: PROTOCOL_VERSION, program: "test".into() }
}

fn coordinator(workers: u16) -> Coordinator {
    let assigned: Vec<_> = (0..workers)
        .map(|index| AssignedWorker {
            slot: slot(index),
            zone: zone(),
            reachable: true,
            device: AssignedDevice::Cpu,
        })
        .collect();
    let assignment = |rank: u16| Assignment {
        job: JobId(1),
        generation: Generation(1),
        job_json: String::new(),
        job_digest: String::new(),
        rank: Rank(rank),
        workers: assigned.clone(),
        manifests: vec![],
        classes: vec![],
        columns: vec![],
        zones: vec![],
        statistics_json: String::new(),
        listen_ports: None,
        link: crate::link::LinkSpec::default(),
        silence_limit: silence_limit(DETECT),
        checkpoint_zone: zone(),
    };
    let settings = Settings {
        build: build(),
        workers: assigned.clone(),
        assignments: (0..workers).map(assignment).collect(),
        start: Step(0),
        state: vec![],
        buckets: 2,
        detect_within: DETECT,
        join_within: Span::from_secs(30),
        prepare_within: Span::from_secs(60),
    };
    Coordinator::new(Time::ZERO, settings)
}

fn outputs(coordinator: &mut Coordinator) -> Vec<Output> {
    std::iter::from_fn(|| coordinator.poll_output()).collect()
}

fn say(coordinator: &mut Coordinator, now: Time, index: u16, message: ToCoordinator) -> Vec<Output> {
    coordinator.handle(now, Input::Message { slot: slot(index), message });
    outputs(coordinator)
}

/// Leaves the outputs where they are.
fn beat(coordinator: &mut Coordinator, now: Time, index: u16, progress: u64, activity: Activity) {
    let message = ToCoordinator::Heartbeat { progress, activity };
    coordinator.handle(now, Input::Message { slot: slot(index), message });
}

/// A coordinator whose workers all train from step 0.
fn training(workers: u16) -> Coordinator {
    let mut coordinator = coordinator(workers);
    for index in 0..workers {
        coordinator.handle(Time::ZERO, Input::Connected { slot: slot(index), zone: zone() });
        let node = NodeId::new("here").unwrap();
        let hello = ToCoordinator::Hello { build: build(), node, cpu_features: String::new() };
        say(&mut coordinator, Time::ZERO, index, hello);
    }
    for index in 0..workers {
        let lanes = vec!["127.0.0.1:1".parse().unwrap()];
        say(
            &mut coordinator,
            Time::ZERO,
            index,
            ToCoordinator::Loaded { lanes, samples: 1, held_out: 1, node_group: None },
        );
    }
    let mut said = Vec::new();
    for index in 0..workers {
        said = say(&mut coordinator, Time::ZERO, index, ToCoordinator::Linked { links: vec![] });
    }
    assert!(said.contains(&Output::Event(Event::Started { step: Step(0) })));
    coordinator
}

fn done(step: u64, digest: u64) -> ToCoordinator {
    ToCoordinator::StepDone { step: Step(step), digests: vec![7, digest], report: StepReport::default() }
}

/// Lets time pass until the job ends.
fn run_out(coordinator: &mut Coordinator) -> (Time, Outcome) {
    let mut now = Time::ZERO;
    for _ in 0..10_000 {
        for output in outputs(coordinator) {
            if let Output::End(outcome) = output {
                return (now, outcome);
            }
        }
        now = coordinator.next_deadline().expect("a live coordinator has a deadline").max(now);
        coordinator.handle(now, Input::Tick);
    }
    panic!("the coordinator never ended: some deadline does not move");
}

fn failure(outcome: Outcome) -> Failure {
    match outcome {
        Outcome::Failed(failure) => failure,
        other => panic!("expected a failure, got {other:?}"),
    }
}

#[test]
fn a_step_is_committed_when_all_digests_are_equal() {
    let mut coordinator = training(2);
    say(&mut coordinator, Time::ZERO, 0, done(0, 1));
    assert_eq!(coordinator.committed(), None);
    say(&mut coordinator, Time::ZERO, 1, done(0, 1));
    assert_eq!(coordinator.committed(), Some(Step(0)));
}

#[test]
fn a_different_digest_stops_the_job_with_step_bucket_and_rank() {
    let mut coordinator = training(3);
    say(&mut coordinator, Time::ZERO, 0, done(0, 1));
    say(&mut coordinator, Time::ZERO, 1, done(0, 2));
    say(&mut coordinator, Time::ZERO, 2, done(0, 1));
    let failure = failure(run_out(&mut coordinator).1);
    assert_eq!((failure.kind, failure.slot), (FailureKind::Divergence, Some(slot(1))));
    assert_eq!(failure.text, "parameters differ between ranks after step 0 in bucket 1");
    assert_eq!(failure.committed, None);
}

#[test]
fn a_killed_worker_is_named_although_its_peer_spoke_first() {
    let mut coordinator = training(2);
    let blame = FailureReport {
        class: FailureClass::Peer,
        peer: Some(Rank(1)),
        step: Some(Step(3)),
        text: "link lost".into(),
    };
    say(&mut coordinator, Time(10), 0, ToCoordinator::Failed(blame));
    coordinator.handle(Time(15), Input::ProcessExited { slot: slot(0), exit: Exit::Code(75) });
    coordinator.handle(Time(20), Input::ProcessExited { slot: slot(1), exit: Exit::Signal(9) });
    let failure = failure(run_out(&mut coordinator).1);
    assert_eq!((failure.kind, failure.slot), (FailureKind::Exited, Some(slot(1))));
    assert_eq!(failure.text, "the process was ended by signal 9");
}

#[test]
fn a_silent_worker_is_found_within_the_limit() {
    let mut coordinator = training(2);
    let mut now = Time::ZERO;
    while now < Time(20_000_000) {
        now = now + Span::from_millis(250);
        beat(&mut coordinator, now, 0, now.0, Activity::Waiting);
        coordinator.handle(now, Input::Tick);
        let ended = outputs(&mut coordinator).into_iter().find_map(|output| match output {
            Output::End(outcome) => Some(outcome),
            _ => None,
        });
        if let Some(outcome) = ended {
            let failure = failure(outcome);
            assert_eq!((failure.kind, failure.slot), (FailureKind::Silent, Some(slot(1))));
            assert!(now < Time::ZERO + DETECT, "found after {}", now.since(Time::ZERO));
            return;
        }
    }
    panic!("a worker silent for 20 s was not found");
}

#[test]
fn a_worker_starved_for_four_seconds_is_neither_dead_nor_stalled() {
    let mut coordinator = training(2);
    beat(&mut coordinator, Time(0), 0, 1, Activity::Computing);
    beat(&mut coordinator, Time(0), 1, 1, Activity::Computing);
    coordinator.handle(Time(4_000_000), Input::Tick);
    assert_eq!(coordinator.evidence.settled_at(), None);
    beat(&mut coordinator, Time(4_000_000), 0, 1, Activity::Computing);
    coordinator.handle(Time(4_100_000), Input::Tick);
    assert_eq!(coordinator.evidence.settled_at(), None);
}

#[test]
fn a_stalled_worker_is_told_from_those_that_wait_for_it() {
    let mut coordinator = training(2);
    for tenth in 0..600u64 {
        let now = Time(tenth * 100_000);
        beat(&mut coordinator, now, 0, 5, Activity::Waiting);
        beat(&mut coordinator, now, 1, 5, Activity::Computing);
    }
    let failure = failure(run_out(&mut coordinator).1);
    assert_eq!((failure.kind, failure.slot), (FailureKind::Stalled, Some(slot(1))));
}

#[test]
fn another_build_is_refused_and_both_are_named() {
    let mut coordinator = coordinator(1);
    coordinator.handle(Time::ZERO, Input::Connected { slot: slot(0), zone: zone() });
    let node = NodeId::new("here").unwrap();
    let other = Build { protocol: 9, program: "other".into() };
    let hello = ToCoordinator::Hello { build: other, node, cpu_features: String::new() };
    say(&mut coordinator, Time::ZERO, 0, hello);
    let failure = failure(run_out(&mut coordinator).1);
    assert_eq!(failure.kind, FailureKind::Build);
    assert_eq!(
        failure.text,
        format!("worker runs other (protocol 9), coordinator runs test (protocol {PROTOCOL_VERSION})")
    );
}

#[test]
fn a_second_link_of_a_live_slot_is_refused() {
    let mut coordinator = training(1);
    coordinator.handle(Time(1), Input::Connected { slot: slot(0), zone: zone() });
    let said = outputs(&mut coordinator);
    let refused = |output: &Output| {
        matches!(output, Output::Event(Event::Refused { reason: Refusal::Taken { .. }, .. }))
    };
    assert!(said.iter().any(refused), "{said:?}");
}

#[test]
fn nobody_joining_ends_at_the_join_limit() {
    let mut coordinator = coordinator(2);
    let (now, outcome) = run_out(&mut coordinator);
    assert_eq!(failure(outcome).kind, FailureKind::NotJoined);
    assert!(now >= Time(30_000_000) && now < Time(31_000_000));
}

#[test]
fn the_job_is_done_only_when_its_last_checkpoint_is_stored() {
    let mut coordinator = training(1);
    say(&mut coordinator, Time::ZERO, 0, done(0, 1));
    say(&mut coordinator, Time::ZERO, 0, ToCoordinator::StateSent { step: Step(0) });
    let finished = ToCoordinator::Finished { steps: 1, stopped: false, sent: vec![], samples: 1 };
    let said = say(&mut coordinator, Time::ZERO, 0, finished);
    assert!(!said.iter().any(|output| matches!(output, Output::End(_))), "{said:?}");
    coordinator.handle(Time(5), Input::Stored { step: Step(0) });
    let said = outputs(&mut coordinator);
    assert_eq!(said.last(), Some(&Output::End(Outcome::Done { steps: 1 })));
    assert!(said.contains(&Output::Send { slot: slot(0), message: ToWorker::Release }));
}

#[test]
fn the_newest_checkpoint_overtakes_those_that_wait_for_the_disk() {
    let mut coordinator = training(1);
    let mut stores = Vec::new();
    for step in 0..4 {
        let mut said = say(&mut coordinator, Time::ZERO, 0, done(step, 1));
        said.extend(say(&mut coordinator, Time::ZERO, 0, ToCoordinator::StateSent { step: Step(step) }));
        if step == 3 {
            coordinator.handle(Time(1), Input::Stored { step: Step(0) });
            said.extend(outputs(&mut coordinator));
        }
        stores
            .extend(said.into_iter().filter(|o| matches!(o, Output::Store { .. } | Output::Discard { .. })));
    }
    let (store, discard) =
        (|step| Output::Store { step: Step(step) }, |step| Output::Discard { step: Step(step) });
    assert_eq!(stores, [store(0), discard(1), discard(2), store(3)]);
}

/// Everybody's heartbeats wait unread while the coordinator stands still.
#[test]
fn a_coordinator_that_slept_blames_nobody_for_what_it_did_not_hear() {
    let mut coordinator = training(2);
    let woken = Time(60_000_000);
    coordinator.handle(woken, Input::Tick);
    assert!(!outputs(&mut coordinator).iter().any(|output| matches!(output, Output::End(_))));
    for index in 0..2 {
        beat(&mut coordinator, woken, index, 1, Activity::Waiting);
    }
    assert_eq!(coordinator.evidence.settled_at(), None);
}

#[test]
fn workers_that_left_a_sleeping_coordinator_are_not_the_first_cause() {
    let mut coordinator = training(2);
    let woken = Time(60_000_000);
    coordinator.handle(woken, Input::ProcessExited { slot: slot(1), exit: Exit::Code(75) });
    let failure = failure(run_out(&mut coordinator).1);
    assert_eq!((failure.kind, failure.slot), (FailureKind::StoodStill, None));
    assert!(failure.text.contains("60.0 s"), "{}", failure.text);
}

/// Links between workers may give up a peer before the coordinator does.
#[test]
fn a_worker_that_all_have_lost_is_silent_and_its_link_is_not_to_blame() {
    let mut coordinator = training(2);
    for tenth in 1..=42 {
        beat(&mut coordinator, Time(tenth * 100_000), 0, tenth, Activity::Waiting);
    }
    let report =
        FailureReport { class: FailureClass::Peer, peer: Some(Rank(1)), step: None, text: "lost".to_owned() };
    say(&mut coordinator, Time(4_200_000), 0, ToCoordinator::Failed(report));
    let failure = failure(run_out(&mut coordinator).1);
    assert_eq!((failure.kind, failure.slot), (FailureKind::Silent, Some(slot(1))));
    assert_eq!(failure.text, "no heartbeat for 4.2 s, and private-0 reports: lost");
}

#[test]
fn a_worker_that_dies_with_everything_handed_over_harms_nothing() {
    let mut coordinator = training(1);
    say(&mut coordinator, Time::ZERO, 0, done(0, 1));
    say(&mut coordinator, Time::ZERO, 0, ToCoordinator::StateSent { step: Step(0) });
    let finished = ToCoordinator::Finished { steps: 1, stopped: false, sent: vec![], samples: 1 };
    say(&mut coordinator, Time::ZERO, 0, finished);
    coordinator.handle(Time(1), Input::ProcessExited { slot: slot(0), exit: Exit::Signal(9) });
    coordinator.handle(Time(2), Input::Stored { step: Step(0) });
    assert_eq!(outputs(&mut coordinator).last(), Some(&Output::End(Outcome::Done { steps: 1 })));
}

#[test]
fn the_same_inputs_give_the_same_outputs() {
    let run = || {
        let mut coordinator = training(2);
        let mut log = say(&mut coordinator, Time(1), 0, done(0, 1));
        log.extend(say(&mut coordinator, Time(2), 1, done(0, 1)));
        coordinator.handle(Time(3), Input::ProcessExited { slot: slot(1), exit: Exit::Signal(11) });
        log.push(Output::End(run_out(&mut coordinator).1));
        log
    };
    assert_eq!(run(), run());
}

#[test]
fn state_on_a_slow_link_is_a_sign_of_life() {
    let mut coordinator = training(1);
    let mut now = Time::ZERO;
    beat(&mut coordinator, now, 0, 1, Activity::Computing);
    for _ in 0..8 {
        now = now + Span::from_secs(3);
        // The launcher itself is awake all the time.
        for half in [6, 5, 4, 3, 2, 1] {
            coordinator.handle(Time(now.0 - half * 500_000), Input::Tick);
        }
        coordinator.handle(now, Input::StateArrived { slot: slot(0) });
    }
    assert!(
        !outputs(&mut coordinator)
            .iter()
            .any(|output| matches!(output, Output::Event(Event::Failing { .. })))
    );
    let (ended, _) = run_out(&mut coordinator);
    assert!(ended.since(now) <= DETECT);
}

#[test]
fn one_worker_of_the_checkpoint_zone_speaks_for_all() {
    let mut settings = coordinator(3).settings;
    settings.workers[0].zone = ZoneId::new("public").unwrap();
    let mut coordinator = Coordinator::new(Time::ZERO, settings);
    let everybody = 0..3;
    everybody.clone().for_each(|index| coordinator.workers[index].state = WorkerState::Training);
    coordinator.phase = Phase::Training;
    let sums = EvaluationSums { rows: 40.0, ..EvaluationSums::default() };
    let heard =
        |event: &Output| matches!(event, Output::Event(Event::Evaluated { .. } | Event::Statistics { .. }));
    let said: Vec<usize> = [0u16, 1, 2]
        .map(|index| {
            let mut said =
                say(&mut coordinator, Time::ZERO, index, ToCoordinator::Evaluated { step: Step(0), sums });
            said.extend(say(
                &mut coordinator,
                Time::ZERO,
                index,
                ToCoordinator::Statistics { sums: vec![1.0] },
            ));
            said.iter().filter(|output| heard(output)).count()
        })
        .to_vec();
    assert_eq!(said, [0, 2, 0]);
    // State that nobody waits for is a broken rule.
    let said = say(&mut coordinator, Time::ZERO, 0, ToCoordinator::StateSent { step: Step(0) });
    assert!(said.iter().any(|output| matches!(output, Output::Event(Event::Failing { .. }))), "{said:?}");
}

#[test]
fn a_training_that_changes_nothing_any_more_is_ended() {
    let mut coordinator = training(1);
    let mut step = 0;
    let mut train = |coordinator: &mut Coordinator, steps: u64, skipped: bool| {
        for _ in 0..steps {
            let report = StepReport { skipped, ..StepReport::default() };
            let message = ToCoordinator::StepDone { step: Step(step), digests: vec![7, 1], report };
            coordinator.handle(Time::ZERO, Input::Message { slot: slot(0), message });
            step += 1;
        }
    };
    train(&mut coordinator, MAX_SKIPPED - 1, true);
    train(&mut coordinator, 1, false);
    train(&mut coordinator, MAX_SKIPPED - 1, true);
    assert_eq!(coordinator.evidence.settled_at(), None);
    train(&mut coordinator, 1, true);
    let failure = failure(run_out(&mut coordinator).1);
    assert_eq!((failure.kind, failure.slot), (FailureKind::NotFinite, None));
}

#[test]
fn a_report_of_another_shape_is_its_workers_fault() {
    let sent = SentBytes { to_zone: zone(), class: crate::frame::FrameClass::Parameters, bytes: 1 };
    // One zone, six classes.
    let rows = |rows| StepReport { sent: vec![sent.clone(); rows], ..StepReport::default() };
    for (digests, report, text) in [
        (vec![1; 3], rows(0), "sent 3 digests of 2 buckets in step 0"),
        (vec![], rows(0), "sent 0 digests of 2 buckets in step 0"),
        (vec![1; 2], rows(7), "sent 7 rows of sent bytes, 6 at most in step 0"),
    ] {
        let mut coordinator = training(2);
        say(&mut coordinator, Time::ZERO, 0, done(0, 1));
        say(&mut coordinator, Time::ZERO, 1, ToCoordinator::StepDone { step: Step(0), digests, report });
        let failure = failure(run_out(&mut coordinator).1);
        assert_eq!((failure.kind, failure.slot), (FailureKind::Protocol, Some(slot(1))));
        assert_eq!(failure.text, text);
    }
    let mut coordinator = training(1);
    let message = ToCoordinator::StepDone { step: Step(0), digests: vec![1; 2], report: rows(6) };
    say(&mut coordinator, Time::ZERO, 0, message);
    assert_eq!(coordinator.committed(), Some(Step(0)));
}

#[test]
fn state_of_a_step_that_was_not_reported_or_is_stored_is_refused() {
    let state = |step| ToCoordinator::StateSent { step: Step(step) };
    let mut early = training(1);
    say(&mut early, Time::ZERO, 0, done(0, 1));
    say(&mut early, Time::ZERO, 0, state(1));
    let mut late = training(1);
    say(&mut late, Time::ZERO, 0, done(0, 1));
    say(&mut late, Time::ZERO, 0, state(0));
    late.handle(Time::ZERO, Input::Stored { step: Step(0) });
    assert_eq!(late.evidence.settled_at(), None);
    say(&mut late, Time::ZERO, 0, state(0));
    for mut coordinator in [early, late] {
        let failure = failure(run_out(&mut coordinator).1);
        assert_eq!((failure.kind, failure.slot), (FailureKind::Protocol, Some(slot(0))), "{}", failure.text);
    }
}

/// Members of a group learn its first member's id, others nothing but that there is one.
#[test]
fn the_id_of_a_group_goes_to_its_members_alone() {
    let mut coordinator = coordinator(3);
    for index in 0..3u16 {
        let gpu = AssignedDevice::Gpu { index: u32::from(index) };
        coordinator.settings.workers[usize::from(index)].device = gpu;
        coordinator.handle(Time::ZERO, Input::Connected { slot: slot(index), zone: zone() });
        let node = NodeId::new(if index == 0 { "elsewhere" } else { "here" }).unwrap();
        let hello = ToCoordinator::Hello { build: build(), node, cpu_features: String::new() };
        say(&mut coordinator, Time::ZERO, index, hello);
    }
    let mut said = Vec::new();
    for index in 0..3u16 {
        let lanes = vec!["127.0.0.1:1".parse().unwrap()];
        let id = NodeGroupId(vec![u8::try_from(index).unwrap(); 128]);
        let node_group = Some(NodeGroupOffer { version: "NCCL 2.27.3".to_owned(), place: 1, id });
        let loaded = ToCoordinator::Loaded { lanes, samples: 1, held_out: 1, node_group };
        said.extend(say(&mut coordinator, Time::ZERO, index, loaded));
    }
    let told = |index: u16| {
        said.iter().find_map(|output| match output {
            Output::Send { slot: to, message: ToWorker::Form { nodes, .. } } if *to == slot(index) => {
                assert_eq!(nodes.groups, [[Rank(1), Rank(2)]]);
                Some(nodes.id.clone())
            }
            _ => None,
        })
    };
    let first = Some(NodeGroupId(vec![1; 128]));
    assert_eq!([told(0), told(1), told(2)], [Some(None), Some(first.clone()), Some(first)]);
    let event = Event::NodeGroup { slots: vec![slot(1), slot(2)], version: "NCCL 2.27.3".to_owned() };
    assert!(said.contains(&Output::Event(event)));
    assert!(!format!("{said:?}").contains("1, 1, 1"), "an id is never shown");
}

#[test]
fn an_offer_that_nobody_could_read_is_none() {
    let offer = |version: &str, bytes: usize| NodeGroupOffer {
        version: version.to_owned(),
        place: 1,
        id: NodeGroupId(vec![0; bytes]),
    };
    assert!(offer("NCCL 2.27.3", 128).is_sound());
    for (version, bytes) in [("", 128), ("a\nb", 128), ("NCCL", 257), (&*"x".repeat(65), 1)] {
        assert!(!offer(version, bytes).is_sound(), "{version} {bytes}");
    }
}

#[test]
fn an_offer_that_is_unsound_breaks_the_protocol() {
    let mut coordinator = coordinator(1);
    coordinator.handle(Time::ZERO, Input::Connected { slot: slot(0), zone: zone() });
    let node = NodeId::new("here").unwrap();
    let hello = ToCoordinator::Hello { build: build(), node, cpu_features: String::new() };
    say(&mut coordinator, Time::ZERO, 0, hello);
    let offer = NodeGroupOffer { version: "a\nb".to_owned(), place: 1, id: NodeGroupId(vec![0; 128]) };
    let lanes = vec!["127.0.0.1:1".parse().unwrap()];
    let loaded = ToCoordinator::Loaded { lanes, samples: 1, held_out: 1, node_group: Some(offer) };
    say(&mut coordinator, Time::ZERO, 0, loaded);
    let (_, outcome) = run_out(&mut coordinator);
    assert_eq!(failure(outcome).kind, FailureKind::Protocol);
}

/// Only a worker that could meet another looks for NCCL.
#[test]
fn a_gpu_has_others_beside_it_in_its_zone_alone() {
    let beside = |workers: &[(&str, Option<u32>)]| {
        let mut assignment = coordinator(1).settings.assignments[0].clone();
        assignment.workers = workers
            .iter()
            .map(|(zone, gpu)| AssignedWorker {
                slot: slot(0),
                zone: ZoneId::new(*zone).unwrap(),
                reachable: true,
                device: gpu.map_or(AssignedDevice::Cpu, |index| AssignedDevice::Gpu { index }),
            })
            .collect();
        assignment.gpu_beside_others()
    };
    assert_eq!(beside(&[("a", Some(3)), ("a", Some(0))]), Some(3));
    for other in [("b", Some(0)), ("a", Some(3)), ("a", None)] {
        assert_eq!(beside(&[("a", Some(3)), other]), None, "{other:?}");
    }
    assert_eq!(beside(&[("a", None), ("a", Some(0))]), None);
}
