//! A round whose peers do anything, in any order, at any time.
//!
//! What the machine asked for is answered only after it asked: that is its driver's promise, not a peer's.

use std::ops::Range;

use hcrun_protocol::dtype::Codec;
use hcrun_protocol::job::Algorithm;
use hcrun_protocol::round::{Input, Output, Round, RoundId};
use hcrun_protocol::schedule::{Collective, Phase, Program, Schedule, Shape, Term};
use hcrun_protocol::{Generation, Rank, Span, Step, Time};

use crate::Bytes;

const DEADLINE: Span = Span(5_000);

pub(crate) fn run(input: &[u8]) {
    let mut bytes = Bytes(input);
    let Some((schedule, me)) = schedule(&mut bytes) else { return };
    let program = schedule.program(me).unwrap();
    let awaited = awaited(program);
    let id = RoundId { generation: Generation(1), attempt: 0, step: Step(9), tag: 4 };
    let mut driver = Driver { open: Vec::new(), ends: 0 };
    let mut now = Time::ZERO;
    let mut round = Round::new(now, program.clone(), id, DEADLINE);
    driver.drain(&mut round, id);
    while !bytes.is_empty() {
        let next = match bytes.below(8) {
            0 => Input::Ready { range: 0..program.elems },
            1 => {
                let start = bytes.word() % (program.elems + 2);
                Input::Ready { range: start..start + bytes.word() % (program.elems + 2) }
            }
            // What is awaited: progress is made.
            2 | 3 if !awaited.is_empty() => {
                let (from, range, phase) = awaited[bytes.word() % awaited.len()].clone();
                Input::Arrived { from, range, phase }
            }
            4 => {
                let (start, elems) = (bytes.word(), bytes.word());
                let (from, phase) = (Rank(u16::from(bytes.byte())), Phase(bytes.byte()));
                Input::Arrived { from, range: start..start + elems, phase }
            }
            5 | 6 if !driver.open.is_empty() => {
                let open = bytes.word() % driver.open.len();
                driver.open.swap_remove(open)
            }
            7 if bytes.below(16) == 0 => {
                let peer = Some(Rank(u16::from(bytes.byte())));
                Input::Abort { peer, reason: "a link is lost".to_owned() }
            }
            _ => {
                now = now + Span(u64::from(bytes.byte()) * 4);
                Input::Tick
            }
        };
        round.handle(now, next);
        driver.drain(&mut round, id);
    }
    // Whatever happened, the deadline ends it.
    round.handle(now + DEADLINE, Input::Tick);
    driver.drain(&mut round, id);
    assert_eq!((driver.ends, round.has_ended(), round.next_deadline()), (1, true, None));
    round.handle(now + DEADLINE, Input::Ready { range: 0..program.elems });
    assert_eq!(round.poll_output(), None, "nothing comes after the end");
}

struct Driver {
    /// Answers to what was asked for and is not answered yet.
    open: Vec<Input>,
    ends: usize,
}

impl Driver {
    fn drain(&mut self, round: &mut Round, id: RoundId) {
        while let Some(output) = round.poll_output() {
            assert_eq!(self.ends, 0, "nothing comes after the end: {output:?}");
            match output {
                Output::Send { range, .. } => self.open.push(Input::Sent { range }),
                Output::Reduce { range, .. } => self.open.push(Input::Reduced { range }),
                Output::Done => {
                    assert_eq!(self.open, [], "done with work that is not answered");
                    self.ends += 1;
                }
                Output::Failed { step, .. } => {
                    assert_eq!(step, id.step);
                    self.ends += 1;
                }
            }
        }
        assert_eq!(self.ends == 1, round.has_ended());
    }
}

fn schedule(bytes: &mut Bytes<'_>) -> Option<(Schedule, Rank)> {
    let collectives = [Collective::AllReduce, Collective::ReduceScatter, Collective::Gather];
    let algorithms = [Algorithm::Ring, Algorithm::Direct, Algorithm::OneShot, Algorithm::Zoned];
    let (collective, algorithm) = (collectives[bytes.below(3)], algorithms[bytes.below(4)]);
    let (first, second) = (1 + bytes.below(4), bytes.below(3));
    let ranks: Vec<Rank> = (0..first + second).map(Rank::from_index).collect();
    let mut zones = vec![ranks[..first].to_vec()];
    if second > 0 {
        zones.push(ranks[first..].to_vec());
    }
    let me = ranks[bytes.below(ranks.len())];
    let (elems, segment_elems) = (bytes.word() % 600, 1 + bytes.below(100));
    let shape =
        Shape { zones, elems, align: 8, segment_elems, algorithm, codec: Codec::None, nodes: Vec::new() };
    Some((Schedule::build(collective, &shape).ok()?, me))
}

fn awaited(program: &Program) -> Vec<(Rank, Range<usize>, Phase)> {
    let of_interval = |interval: &hcrun_protocol::schedule::Interval| {
        let term = |term: &Term| match term {
            Term::From { rank, phase, .. } => Some((*rank, interval.range.clone(), *phase)),
            Term::Own(_) => None,
        };
        interval.terms().filter_map(term).collect::<Vec<_>>()
    };
    program.intervals.iter().flat_map(of_interval).collect()
}
