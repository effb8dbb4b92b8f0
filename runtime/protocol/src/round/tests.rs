use super::*;

use crate::job::Algorithm;
use crate::schedule::{Collective, Schedule, Shape};

const DEADLINE: Span = Span::from_secs(10);
const LATE: Time = Time(10_000_000);

/// Three ranks of one zone, `direct`, one element per piece: rank `r` owns element `r`.
fn program(rank: u16) -> Arc<Program> {
    let shape = Shape {
        zones: vec![vec![Rank(0), Rank(1), Rank(2)]],
        elems: 3,
        align: 1,
        segment_elems: 1,
        algorithm: Algorithm::Direct,
        codec: Codec::None,
        nodes: Vec::new(),
    };
    let schedule = Schedule::build(Collective::ReduceScatter, &shape).unwrap();
    Arc::clone(schedule.program(Rank(rank)).unwrap())
}

fn round(rank: u16) -> Round {
    let id = RoundId { generation: Generation(1), attempt: 0, step: Step(7), tag: 3 };
    Round::new(Time::ZERO, program(rank), id, DEADLINE)
}

fn feed(round: &mut Round, now: Time, input: Input) -> Vec<Output> {
    round.handle(now, input);
    std::iter::from_fn(|| round.poll_output()).collect()
}

fn arrived(from: u16, element: usize) -> Input {
    Input::Arrived { from: Rank(from), range: element..element + 1, phase: Phase(0) }
}

fn receivers(output: &Output) -> &[Rank] {
    let Output::Send { to, .. } = output else { panic!("{output:?}") };
    to
}

fn failed(outputs: Vec<Output>) -> (Option<Rank>, Cause) {
    match <[Output; 1]>::try_from(outputs) {
        Ok([Output::Failed { peer, step, cause }]) => {
            assert_eq!(step, Step(7));
            (peer, cause)
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn segments_wait_for_their_turn_and_go_on_one_by_one() {
    let mut round = round(0);
    // Element 0 is summed in the order 1, 2, 0: all parts have to be there.
    assert_eq!(feed(&mut round, Time::ZERO, arrived(2, 0)), []);
    assert_eq!(feed(&mut round, Time::ZERO, Input::Ready { range: 0..1 }), []);
    let from = |rank| Term::From { rank: Rank(rank), phase: Phase(0), codec: Codec::None };
    let terms = vec![from(1), from(2), Term::Own(Level(0))];
    let reduce = Output::Reduce { range: 0..1, terms, into: Level(1), total: true };
    assert_eq!(feed(&mut round, Time::ZERO, arrived(1, 0)), [reduce]);
    assert_eq!(feed(&mut round, Time::ZERO, Input::Reduced { range: 0..1 }), []);
    // The other intervals are sends, put out when they become ready.
    let outputs = feed(&mut round, Time::ZERO, Input::Ready { range: 1..3 });
    let receivers: Vec<_> = outputs.iter().map(receivers).collect();
    assert_eq!(receivers, [[Rank(1)], [Rank(2)]]);
    assert_eq!(feed(&mut round, Time::ZERO, Input::Sent { range: 1..2 }), []);
    assert_eq!(feed(&mut round, Time::ZERO, Input::Sent { range: 2..3 }), [Output::Done]);
    assert_eq!(round.next_deadline(), None);
    assert_eq!(feed(&mut round, LATE, Input::Tick), []);
}

#[test]
fn an_interval_starts_when_all_of_it_is_ready() {
    let shape = Shape {
        zones: vec![vec![Rank(0), Rank(1)]],
        elems: 8,
        align: 4,
        segment_elems: 4,
        algorithm: Algorithm::Ring,
        codec: Codec::None,
        nodes: Vec::new(),
    };
    let schedule = Schedule::build(Collective::ReduceScatter, &shape).unwrap();
    let id = RoundId { generation: Generation(1), attempt: 0, step: Step(0), tag: 0 };
    let program = Arc::clone(schedule.program(Rank(1)).unwrap());
    let mut round = Round::new(Time::ZERO, program, id, DEADLINE);
    assert_eq!(feed(&mut round, Time::ZERO, Input::Ready { range: 3..8 }), []);
    assert_eq!(feed(&mut round, Time::ZERO, Input::Ready { range: 0..2 }), []);
    let outputs = feed(&mut round, Time::ZERO, Input::Ready { range: 2..3 });
    assert_eq!(outputs.iter().map(receivers).collect::<Vec<_>>(), [[Rank(0)]]);
}

#[test]
fn what_is_not_in_the_schedule_is_the_senders_fault() {
    for wrong in [
        arrived(1, 1),
        arrived(7, 0),
        Input::Arrived { from: Rank(1), range: 0..2, phase: Phase(0) },
        Input::Arrived { from: Rank(1), range: 0..1, phase: Phase(1) },
        Input::Arrived { from: Rank(1), range: 900..901, phase: Phase(0) },
    ] {
        let Input::Arrived { from, .. } = wrong else { panic!() };
        let (peer, cause) = failed(feed(&mut round(0), Time::ZERO, wrong));
        assert_eq!(peer, Some(from));
        assert!(matches!(cause, Cause::Unexpected { .. }), "{cause}");
    }
}

#[test]
fn a_segment_that_comes_twice_is_the_senders_fault() {
    let mut round = round(0);
    feed(&mut round, Time::ZERO, Input::Ready { range: 0..3 });
    feed(&mut round, Time::ZERO, arrived(1, 0));
    // Also after it has been taken.
    assert_eq!(feed(&mut round, Time::ZERO, arrived(2, 0)).len(), 1);
    feed(&mut round, Time::ZERO, Input::Reduced { range: 0..1 });
    let (peer, cause) = failed(feed(&mut round, Time::ZERO, arrived(1, 0)));
    assert_eq!(peer, Some(Rank(1)));
    assert_eq!(cause, Cause::Duplicate { from: Rank(1), range: 0..1, phase: Phase(0) });
}

#[test]
fn the_deadline_names_who_is_awaited() {
    let mut round = round(0);
    feed(&mut round, Time::ZERO, Input::Ready { range: 0..3 });
    feed(&mut round, Time::ZERO, arrived(2, 0));
    assert_eq!(round.next_deadline(), Some(LATE));
    assert_eq!(feed(&mut round, Time(LATE.0 - 1), Input::Tick), []);
    let (peer, cause) = failed(feed(&mut round, LATE, Input::Tick));
    assert_eq!(
        (peer, cause),
        (Some(Rank(1)), Cause::Awaited { from: Rank(1), range: 0..1, deadline: DEADLINE })
    );
}

#[test]
fn a_worker_that_is_late_itself_blames_nobody() {
    let (peer, cause) = failed(feed(&mut round(0), LATE, Input::Tick));
    assert_eq!((peer, cause), (None, Cause::OwnPart { deadline: DEADLINE }));
}

#[test]
fn an_abort_takes_back_what_is_queued() {
    let mut round = round(0);
    round.handle(Time::ZERO, Input::Ready { range: 0..3 });
    let abort = Input::Abort { peer: Some(Rank(2)), reason: "connection lost".to_owned() };
    let (peer, cause) = failed(feed(&mut round, Time::ZERO, abort));
    assert_eq!((peer, cause.to_string()), (Some(Rank(2)), "connection lost".to_owned()));
    assert!(round.has_ended());
    assert_eq!(feed(&mut round, Time::ZERO, arrived(1, 0)), []);
}

#[test]
fn nothing_to_do_is_done_at_once() {
    let program = Program {
        rank: Rank(0),
        elems: 0,
        result_level: Level(1),
        ranks: 1,
        digest: 0,
        intervals: Vec::new(),
    };
    let id = RoundId { generation: Generation(1), attempt: 0, step: Step(0), tag: 0 };
    let mut round = Round::new(Time::ZERO, Arc::new(program), id, DEADLINE);
    assert_eq!(round.poll_output(), Some(Output::Done));
}

#[test]
fn a_log_of_inputs_is_a_replay() {
    let log = r#"[{"ready":{"range":{"start":0,"end":3}}},
        {"arrived":{"from":1,"range":{"start":0,"end":1},"phase":0}},
        {"arrived":{"from":2,"range":{"start":0,"end":1},"phase":0}},
        {"sent":{"range":{"start":1,"end":2}}}, "tick"]"#;
    let inputs: Vec<Input> = serde_json::from_str(log).unwrap();
    let play = || {
        let mut round = round(0);
        let outputs = inputs.iter().flat_map(|input| feed(&mut round, Time::ZERO, input.clone()));
        serde_json::to_string(&outputs.collect::<Vec<_>>()).unwrap()
    };
    assert_eq!(play(), play());
    assert!(
        play().contains(r#"{"reduce":{"range":{"start":0,"end":1},"terms":[{"from":{"rank":1,"#),
        "{}",
        play()
    );
}

#[test]
fn at_the_deadline_the_rank_that_sent_nothing_at_all_is_named() {
    // Rank 0 sent its part of element 1; of element 0 it owes nothing. Rank 2 sent nothing.
    let shape = Shape {
        zones: vec![vec![Rank(0), Rank(1), Rank(2)]],
        elems: 3,
        align: 1,
        segment_elems: 1,
        algorithm: Algorithm::Direct,
        codec: Codec::None,
        nodes: Vec::new(),
    };
    let schedule = Schedule::build(Collective::AllReduce, &shape).unwrap();
    let id = RoundId { generation: Generation(1), attempt: 0, step: Step(7), tag: 3 };
    let mut round = Round::new(Time::ZERO, schedule.program(Rank(1)).unwrap().clone(), id, DEADLINE);
    feed(&mut round, Time::ZERO, Input::Ready { range: 0..3 });
    feed(&mut round, Time::ZERO, Input::Sent { range: 0..1 });
    feed(&mut round, Time::ZERO, arrived(0, 1));
    let (peer, _) = failed(feed(&mut round, LATE, Input::Tick));
    assert_eq!(peer, Some(Rank(2)), "rank 0 waits for it too, with the sum of element 0");
}
