//! Groups over real QUIC on loopback: all ranks in one process, a thread each.

use std::net::{SocketAddr, UdpSocket};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use hcrun_protocol::dtype::{Codec, DType, ReduceOp};
use hcrun_protocol::frame::{FrameClass, SegmentHeader};
use hcrun_protocol::job::Algorithm;
use hcrun_protocol::round::{Cause, RoundId};
use hcrun_protocol::schedule::{Collective, Coverage, Phase, Schedule, Shape};
use hcrun_protocol::{Generation, Prng, Rank, Span, Step};
use hcrun_sim::memory::Memory;

use super::form::{self, Link};
use super::*;
use crate::identity::Identity;
use crate::loss::LinkLoss;
use crate::testing::{Fixture, JOB, LOOPBACK};

mod lanes;

const GENERATION: Generation = Generation(3);
const LONG: Span = Span::from_secs(20);
const ELEMS: usize = 3_000;

/// Ranks in zones: `[2, 1]` is two private ranks and a public one.
struct World {
    fixture: Fixture,
    zones: Vec<Vec<Rank>>,
    schedule: Schedule,
    settings: LaneSettings,
}

impl World {
    fn new(sizes: &[usize]) -> World {
        let mut ranks = (0..).map(Rank::from_index);
        let zones: Vec<Vec<Rank>> = sizes.iter().map(|size| ranks.by_ref().take(*size).collect()).collect();
        let shape = Shape {
            zones: zones.clone(),
            elems: ELEMS,
            align: 8,
            segment_elems: 100,
            algorithm: Algorithm::Zoned,
            codec: Codec::None,
            nodes: Vec::new(),
        };
        let schedule = Schedule::build(Collective::AllReduce, &shape).unwrap();
        World { fixture: Fixture::new(), zones, schedule, settings: LaneSettings::default() }
    }

    fn ranks(&self) -> Vec<Rank> {
        self.zones.concat()
    }

    fn identity(&self, rank: Rank) -> Identity {
        let zone = self.zones.iter().position(|zone| zone.contains(&rank)).unwrap();
        self.fixture.worker(&format!("{}-{}", ["private", "public"][zone], rank.0))
    }

    fn member(&self, rank: Rank, lanes: &[SocketAddr]) -> Member {
        let me = self.identity(rank).me;
        let crate::identity::PeerName::Slot(slot) = me.name else { unreachable!() };
        Member { rank, slot, zone: me.zone, lanes: lanes.to_vec(), reachable: true }
    }

    fn listen(&self) -> (Vec<LaneListener>, Vec<Member>) {
        let bind =
            |rank: Rank| LaneListener::bind(&self.identity(rank), LOOPBACK, None, &self.settings).unwrap();
        let listeners: Vec<_> = self.ranks().into_iter().map(bind).collect();
        let member = |(rank, listener): (Rank, &LaneListener)| self.member(rank, listener.addresses());
        let members = self.ranks().into_iter().zip(&listeners).map(member).collect();
        (listeners, members)
    }

    fn form(&self) -> Vec<Group<Memory>> {
        let (listeners, members) = self.listen();
        form_all(listeners, &members).into_iter().map(Result::unwrap).collect()
    }

    /// Rank 0 as a group, rank 1 as bare links of `mischief`.
    fn form_with_mischief<F>(&self, mischief: impl FnOnce(Vec<Link>) -> F + Send + 'static) -> Group<Memory>
    where
        F: Future<Output = ()> + 'static,
    {
        let (mut listeners, members) = self.listen();
        let LaneListener { identity, kind, mut starts, threads, .. } = listeners.pop().unwrap();
        let its_spec = spec(Rank(1), &members);
        let started = starts.pop().unwrap().send(Box::new(move |endpoint| {
            Box::pin(async move {
                mischief(form::form(&endpoint, &identity, kind, 0, &its_spec).await.unwrap()).await;
            })
        }));
        assert!(started.is_ok());
        // It ends by itself when its only link is closed.
        std::mem::forget(threads);
        listeners.pop().unwrap().form(spec(Rank(0), &members)).unwrap()
    }

    fn own(&self, rank: Rank) -> Vec<f32> {
        let mut prng = Prng::keyed(&[7, u64::from(rank.0)]);
        #[expect(clippy::cast_possible_truncation, reason = "any float does")]
        let values = (0..ELEMS).map(|_| prng.normal() as f32).collect();
        values
    }

    fn round(&self, rank: Rank, step: u64, tag: u32) -> RoundSpec<Memory> {
        RoundSpec {
            id: RoundId { generation: GENERATION, attempt: 0, step: Step(step), tag },
            classes: RoundClasses::GRADIENTS,
            program: self.schedule.program(rank).unwrap().clone(),
            buffers: Memory::new(self.own(rank)),
            deadline: LONG,
        }
    }

    fn result(&self, buffers: &Memory) -> Vec<u32> {
        buffers.bits(0..ELEMS)
    }
}

fn spec(me: Rank, members: &[Member]) -> FormSpec {
    FormSpec {
        job: JOB,
        generation: GENERATION,
        me,
        members: members.to_vec(),
        deadline: Duration::from_secs(20),
        staging_bytes: 1 << 20,
        segment_bytes: 1 << 16,
    }
}

fn form_all(listeners: Vec<LaneListener>, members: &[Member]) -> Vec<Result<Group<Memory>, FormError>> {
    thread::scope(|scope| {
        let form = |(index, listener): (usize, LaneListener)| {
            let spec = spec(Rank::from_index(index), members);
            scope.spawn(move || listener.form(spec))
        };
        let forming: Vec<_> = listeners.into_iter().enumerate().map(form).collect();
        forming.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

#[test]
fn all_ranks_end_with_the_same_bits_and_the_planned_bytes() {
    for sizes in [&[1][..], &[2], &[1, 1], &[2, 1], &[2, 2], &[1, 3]] {
        let world = World::new(sizes);
        let groups = world.form();
        let handles: Vec<_> =
            groups.iter().zip(world.ranks()).map(|(g, r)| g.submit(world.round(r, 0, 0))).collect();
        let results: Vec<_> =
            handles.into_iter().map(|handle| world.result(&handle.wait().unwrap())).collect();
        assert!(results.iter().all(|result| *result == results[0]), "{sizes:?}");
        let owns: Vec<_> = world.ranks().into_iter().map(|rank| world.own(rank)).collect();
        for (index, bits) in results[0].iter().enumerate() {
            let expected: f32 = owns.iter().map(|own| own[index]).sum();
            assert!((f32::from_bits(*bits) - expected).abs() < 1e-5, "{sizes:?}: element {index}");
        }
        let traffic = world.schedule.traffic(DType::F32);
        for (group, rank) in groups.iter().zip(world.ranks()) {
            assert_eq!(group.link_reports().len(), groups.len() - 1);
            let sent = |to: Rank| -> u64 {
                group.counters().snapshot().iter().filter(|row| row.peer == to).map(|row| row.sent).sum()
            };
            for to in world.ranks() {
                let planned = traffic.links.get(&(rank, to)).map_or(0, |flow| flow.bytes);
                assert_eq!(sent(to), planned, "{sizes:?}: {rank} to {to}");
            }
        }
    }
}

#[test]
fn rounds_match_by_step_and_tag_whatever_the_order_of_submission() {
    let world = World::new(&[1, 1]);
    let groups = world.form();
    let order = |rank: u16| if rank == 0 { [0, 1, 2] } else { [2, 0, 1] };
    let mut results = Vec::new();
    // Rank 1 submits only after rank 0's segments are on their way: they arrive early and wait.
    for (group, rank) in groups.iter().zip(world.ranks()) {
        let handles: Vec<_> =
            order(rank.0).iter().map(|tag| group.submit(world.round(rank, 4, *tag))).collect();
        results.push((rank, handles));
    }
    for (_, handles) in results {
        for handle in handles {
            handle.wait().unwrap();
        }
    }
    let mut short = world.round(Rank(0), 5, 0);
    short.buffers = Memory::new(vec![0.0; ELEMS - 1]);
    let error = groups[0].submit(short).wait().unwrap_err();
    assert!(matches!(error, RoundError::Elems { program: ELEMS, .. }), "{error}");
    let again = groups[0].submit(world.round(Rank(0), 4, 1)).wait().unwrap_err();
    assert!(matches!(again, RoundError::Twice(_)), "{again}");
}

#[test]
fn an_abort_fails_everyone_and_says_why() {
    let world = World::new(&[2, 1]);
    let groups = world.form();
    let waiting: Vec<_> = (0..2).map(|i| groups[i].submit(world.round(Rank::from_index(i), 5, 0))).collect();
    groups[2].aborter().abort("the disk is full");
    for handle in waiting {
        let error = handle.wait().unwrap_err();
        // Rank 1 may tell rank 0 of it before rank 2 does.
        let RoundError::GaveUp { step: Step(5), reason, .. } = &error else { panic!("{error:?}") };
        assert_eq!(reason, "the disk is full");
        assert_eq!(error.peer(), Some(Rank(2)), "{error:?}");
    }
    let later = groups[2].submit(world.round(Rank(2), 6, 0)).wait().unwrap_err();
    assert!(matches!(&later, RoundError::Aborted { step: Step(6), reason } if reason == "the disk is full"));
}

#[test]
fn a_rank_whose_memory_fails_blames_nobody_and_is_named_when_it_closes() {
    let world = World::new(&[2, 1]);
    let mut groups = world.form();
    let mut waiting = Vec::new();
    for rank in [0, 2].map(Rank) {
        waiting.push(groups[rank.index()].submit(world.round(rank, 5, 0)));
    }
    let own = world.round(Rank(1), 5, 0);
    let failing = RoundSpec { buffers: Memory::failing(world.own(Rank(1))), ..own };
    let error = groups[1].submit(failing).wait().unwrap_err();
    assert!(matches!(&error, RoundError::Memory { step: Step(5), .. }), "{error:?}");
    assert_eq!(error.peer(), None, "{error:?}");
    let later = groups[1].submit(world.round(Rank(1), 6, 0)).wait().unwrap_err();
    assert!(matches!(&later, RoundError::Memory { step: Step(6), .. }), "{later:?}");
    groups.remove(1).close();
    for handle in waiting {
        let error = handle.wait().unwrap_err();
        let RoundError::GaveUp { reason, .. } = &error else { panic!("{error:?}") };
        assert!(reason.contains("the device is gone"), "{reason}");
        assert_eq!(error.peer(), Some(Rank(1)), "{error:?}");
    }
}

#[test]
fn a_peer_that_never_comes_is_named_at_the_deadline() {
    let world = World::new(&[1, 1]);
    let groups = world.form();
    let round = RoundSpec { deadline: Span::from_millis(50), ..world.round(Rank(0), 9, 0) };
    let error = groups[0].submit(round).wait().unwrap_err();
    assert!(
        matches!(
            &error,
            RoundError::PeerLate { rank: Rank(1), step: Step(9), source: Cause::Awaited { .. }, .. }
        ),
        "{error:?}"
    );
    assert_eq!(error.peer(), Some(Rank(1)));
}

#[test]
fn a_peer_that_leaves_in_a_round_is_named_by_all_others() {
    let world = World::new(&[2, 2]);
    let mut groups = world.form();
    let handles: Vec<_> = (0..3).map(|i| groups[i].submit(world.round(Rank::from_index(i), 1, 0))).collect();
    groups.pop().unwrap().close();
    let errors: Vec<_> = handles.into_iter().map(|handle| handle.wait().unwrap_err()).collect();
    for error in errors {
        assert_eq!(error.peer(), Some(Rank(3)), "{error:?}");
        let text = format!("{error}: {:?}", std::error::Error::source(&error).map(ToString::to_string));
        assert!(text.contains("`public-3` in zone `public`"), "{text}");
    }
}

#[test]
fn a_peer_that_is_done_may_leave_while_others_finish() {
    let world = World::new(&[1, 1]);
    let mut groups = world.form();
    let last = groups.pop().unwrap();
    let handle = last.submit(world.round(Rank(1), 0, 0));
    let other = groups[0].submit(world.round(Rank(0), 0, 0));
    handle.wait().unwrap();
    last.close();
    other.wait().unwrap();
}

#[test]
fn ports_are_free_after_a_close() {
    let world = World::new(&[2]);
    let (listeners, members) = world.listen();
    let groups = form_all(listeners, &members);
    groups.into_iter().for_each(|group| group.unwrap().close());
    for member in members {
        UdpSocket::bind(member.lanes[0]).unwrap();
    }
}

#[test]
fn a_port_range_in_use_is_an_error_that_names_it() {
    let taken = UdpSocket::bind((LOOPBACK, 0)).unwrap();
    let port = taken.local_addr().unwrap().port();
    let world = World::new(&[1]);
    let identity = world.identity(Rank(0));
    let bound = LaneListener::bind(&identity, LOOPBACK, Some([port, port]), &LaneSettings::default());
    let error = bound.err().unwrap();
    assert!(error.to_string().contains(&port.to_string()), "{error}");
}

#[test]
fn only_the_end_that_can_be_dialled_is_dialled() {
    let world = World::new(&[1, 1]);
    let (listeners, mut members) = world.listen();
    // Rank 0 would be dialled by rank 1; now it has to dial.
    members[0].reachable = false;
    members[0].lanes.clear();
    form_all(listeners, &members).into_iter().for_each(|group| drop(group.unwrap()));

    let (listeners, mut members) = world.listen();
    members.iter_mut().for_each(|member| member.reachable = false);
    for group in form_all(listeners, &members) {
        assert!(matches!(group, Err(FormError::NeitherReachable { .. })));
    }

    // Inside a zone everybody can be dialled.
    let world = World::new(&[2]);
    let (listeners, mut members) = world.listen();
    members.iter_mut().for_each(|member| member.reachable = false);
    form_all(listeners, &members).into_iter().for_each(|group| drop(group.unwrap()));
}

#[test]
fn a_member_with_another_slot_or_generation_is_refused_and_named() {
    let world = World::new(&[1, 1]);
    // Rank 1's place in the list is given to a slot that is not at its address.
    let (listeners, members) = world.listen();
    let mut elsewhere = members.clone();
    elsewhere[1].slot = crate::testing::slot("public-7");
    let mut specs = vec![spec(Rank(0), &elsewhere), spec(Rank(1), &members)];
    specs[0].deadline = Duration::from_millis(300);
    let mut errors = Vec::new();
    thread::scope(|scope| {
        let forming: Vec<_> = listeners
            .into_iter()
            .zip(specs)
            .map(|(listener, spec)| scope.spawn(move || listener.form::<Memory>(spec).err().unwrap()))
            .collect();
        errors.extend(forming.into_iter().map(|thread| thread.join().unwrap()));
    });
    let FormError::Deadline { missing, .. } = &errors[0] else { panic!("{:?}", errors[0]) };
    assert!(missing[0].to_string().starts_with("`public-7` in zone `public` dials"), "{}", missing[0]);
    assert!(errors[0].to_string().contains("no member that should dial here: `public-1`"), "{}", errors[0]);
    assert!(matches!(&errors[1], FormError::Link { .. }), "{:?}", errors[1]);
}

#[test]
fn forming_ends_when_it_is_aborted() {
    let world = World::new(&[1, 1]);
    let (mut listeners, members) = world.listen();
    let listener = listeners.remove(0);
    listener.aborter().abort("another worker failed");
    let error = listener.form::<Memory>(spec(Rank(0), &members)).err().unwrap();
    assert!(matches!(&error, FormError::Aborted { reason } if reason == "another worker failed"), "{error}");
}

#[test]
fn garbage_at_a_lane_port_does_not_keep_a_group_from_forming() {
    let world = World::new(&[1, 1]);
    let (listeners, members) = world.listen();
    let stranger = UdpSocket::bind((LOOPBACK, 0)).unwrap();
    for length in 1..250u8 {
        let garbage: Vec<u8> = (0..length).map(|i| i.wrapping_mul(length) ^ 0xc0).collect();
        for member in &members {
            stranger.send_to(&garbage, member.lanes[0]).unwrap();
        }
    }
    form_all(listeners, &members).into_iter().for_each(|group| drop(group.unwrap()));
}

/// A header that rank 0 would accept from rank 1, for round (step 0, tag 0).
#[test]
fn a_busy_member_is_dialled_again() {
    let world = World::new(&[1, 1]);
    let (mut listeners, members) = world.listen();
    let dialling = listeners.pop().unwrap();
    let LaneListener { identity, kind, mut starts, threads, .. } = listeners.pop().unwrap();
    let (its_spec, (reply, formed)) = (spec(Rank(0), &members), std::sync::mpsc::channel());
    let started = starts.pop().unwrap().send(Box::new(move |endpoint| {
        Box::pin(async move {
            // Too many others are being greeted, then its handshake takes too long.
            endpoint.accept().await.unwrap().refuse();
            drop(endpoint.accept().await.unwrap().accept().unwrap());
            let links = form::form(&endpoint, &identity, kind, 0, &its_spec).await;
            reply.send(links.as_ref().map(Vec::len).map_err(ToString::to_string)).unwrap();
            for link in links.into_iter().flatten() {
                link.connection.closed().await;
            }
        })
    }));
    assert!(started.is_ok());
    let group: Group<Memory> = dialling.form(spec(Rank(1), &members)).unwrap();
    assert_eq!(formed.recv().unwrap(), Ok(1));
    drop((group, threads));
}

fn header(payload: &[u8]) -> SegmentHeader {
    SegmentHeader {
        class: FrameClass::GradientSum,
        job: JOB,
        generation: GENERATION,
        attempt: 0,
        source: Rank(1),
        round: 0,
        step: Step(0),
        offset: 0,
        elems: u32::try_from(payload.len() / 4).unwrap(),
        dtype: DType::F32,
        codec: Codec::None,
        op: ReduceOp::Sum,
        phase: Phase(200),
        coverage: Coverage::Complete,
        schedule: World::new(&[1, 1]).schedule.program(Rank(0)).unwrap().digest,
    }
}

/// What rank 0 says when rank 1, in another zone, writes `bytes`.
fn fault_of(bytes: Vec<u8>) -> RoundError {
    let world = World::new(&[1, 1]);
    let group = world.form_with_mischief(|links| async move {
        let connection = links[0].connection.clone();
        let mut stream = connection.open_uni().await.unwrap();
        drop(stream.write_chunk(Bytes::from(bytes)).await);
        drop(stream.finish());
        connection.closed().await;
    });
    group.submit(world.round(Rank(0), 0, 0)).wait().unwrap_err()
}

#[test]
fn what_no_honest_peer_sends_is_its_fault() {
    type Expected = fn(&SegmentFault) -> bool;
    let payload = vec![0; 400];
    let frame = |header: SegmentHeader| [&header.encode()[..], &payload].concat();
    let good = || header(&payload);
    let large = SegmentHeader { elems: 1 << 28, ..good() };
    let wrong: Vec<(&str, Vec<u8>, Expected)> = vec![
        ("noise", vec![0x5a; 200], |f| matches!(f, SegmentFault::Frame(_))),
        ("a length over the limit", large.encode().to_vec(), |f| matches!(f, SegmentFault::Frame(_))),
        ("another operation", frame(SegmentHeader { op: ReduceOp::Max, ..good() }), |f| {
            matches!(f, SegmentFault::Operation { .. })
        }),
        ("another schedule", frame(SegmentHeader { schedule: 1, ..good() }), |f| {
            matches!(f, SegmentFault::OtherSchedule)
        }),
        ("another source", frame(SegmentHeader { source: Rank(0), ..good() }), |f| {
            matches!(f, SegmentFault::Source { .. })
        }),
        ("another job", frame(SegmentHeader { job: hcrun_protocol::JobId(1), ..good() }), |f| {
            matches!(f, SegmentFault::Job { .. })
        }),
        ("a later generation", frame(SegmentHeader { generation: Generation(4), ..good() }), |f| {
            matches!(f, SegmentFault::Generation { .. })
        }),
        (
            "a gradient across the border",
            frame(SegmentHeader { class: FrameClass::Gradient, ..good() }),
            |f| matches!(f, SegmentFault::Border { .. }),
        ),
        (
            "a partial sum across the border",
            frame(SegmentHeader { coverage: Coverage::Partial, ..good() }),
            |f| matches!(f, SegmentFault::Border { .. }),
        ),
        ("another class", frame(SegmentHeader { class: FrameClass::Metrics, ..good() }), |f| {
            matches!(f, SegmentFault::Class { .. })
        }),
        ("another type", frame(SegmentHeader { dtype: DType::F64, elems: 50, ..good() }), |f| {
            matches!(f, SegmentFault::DType { .. })
        }),
        ("a segment of no schedule", frame(good()), |f| {
            matches!(f, SegmentFault::Schedule(Cause::Unexpected { .. }))
        }),
    ];
    for (case, bytes, expected) in wrong {
        let error = fault_of(bytes);
        let RoundError::PeerFault { peer, source, .. } = &error else { panic!("{case}: {error:?}") };
        assert!(expected(source), "{case}: {source:?}");
        assert_eq!(peer.to_string(), "`public-1` in zone `public`");
    }
}

#[test]
fn another_codec_than_the_schedule_says_is_the_peers_fault() {
    let world = World::new(&[1, 1]);
    let program = world.schedule.program(Rank(0)).unwrap();
    let interval = &program.intervals[0];
    let mut header = header(&vec![0; 2 * interval.range.len()]);
    (header.codec, header.phase) = (Codec::Bf16, Phase(0));
    // The first exchange of two zones of one rank each.
    header.phase = Phase(1);
    header.elems = u32::try_from(interval.range.len()).unwrap();
    let frame = [&header.encode()[..], &vec![0; 2 * interval.range.len()]].concat();
    let error = fault_of(frame);
    let RoundError::PeerFault { source, .. } = &error else { panic!("{error:?}") };
    assert!(matches!(source, SegmentFault::Codec { got: Codec::Bf16, expected: Codec::None }), "{source:?}");
}

#[test]
fn a_peer_far_ahead_is_held_up_and_its_segments_are_kept() {
    // Rank 1 sends step 0 thrice as long as its limit before rank 0 has begun anything.
    let world = World::new(&[2]);
    let (listeners, members) = world.listen();
    let groups: Vec<Group<Memory>> = thread::scope(|scope| {
        let form = |(index, listener): (usize, LaneListener)| {
            let spec = FormSpec { staging_bytes: 1 << 12, ..spec(Rank::from_index(index), &members) };
            scope.spawn(move || listener.form(spec).unwrap())
        };
        let forming: Vec<_> = listeners.into_iter().enumerate().map(form).collect();
        forming.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let ahead: Vec<_> = (0..40).map(|step| groups[1].submit(world.round(Rank(1), step, 0))).collect();
    let behind: Vec<_> = (0..40).map(|step| groups[0].submit(world.round(Rank(0), step, 0))).collect();
    for handle in ahead.into_iter().chain(behind) {
        handle.wait().unwrap();
    }
}

#[test]
fn any_number_of_lanes_gives_the_same_bits_and_bytes() {
    let mut world = World::new(&[2, 1]);
    let mut results = Vec::new();
    for lanes in [1, 2, 4] {
        world.settings.lanes = lanes;
        let groups = world.form();
        let handles: Vec<_> =
            groups.iter().zip(world.ranks()).map(|(g, r)| g.submit(world.round(r, 0, 0))).collect();
        for handle in handles {
            results.push(world.result(&handle.wait().unwrap()));
        }
        let sent: u64 = groups.iter().flat_map(|g| g.counters().snapshot()).map(|row| row.sent).sum();
        let planned: u64 = world.schedule.traffic(DType::F32).links.values().map(|flow| flow.bytes).sum();
        assert_eq!(sent, planned, "{lanes} lanes");
    }
    assert!(results.iter().all(|result| *result == results[0]));
}

#[test]
fn members_with_another_number_of_lanes_are_refused_and_named() {
    let world = World::new(&[1, 1]);
    let (listeners, mut members) = world.listen();
    let second = members[1].lanes[0];
    members[1].lanes.push(second);
    for (index, group) in form_all(listeners, &members).into_iter().enumerate() {
        let other = Rank::from_index(1 - index);
        let Err(FormError::Lanes { peer, .. }) = group else { panic!("rank {index} formed") };
        assert_eq!(peer, members[other.index()].peer());
    }
}

#[test]
fn a_stream_cut_within_a_segment_loses_the_peer() {
    let payload = vec![0; 400];
    let frame = [&header(&payload).encode()[..], &payload].concat();
    for cut in [1, 63, 64, 65, frame.len() - 1] {
        let error = fault_of(frame[..cut].to_vec());
        assert!(
            matches!(&error, RoundError::PeerLost { source: LinkLoss::Truncated, .. }),
            "{cut}: {error:?}"
        );
    }
}

#[test]
fn frames_of_an_older_generation_are_dropped_and_counted() {
    let world = World::new(&[1, 1]);
    let (sent, arrived) = std::sync::mpsc::channel();
    let group = world.form_with_mischief(move |links| async move {
        let connection = links[0].connection.clone();
        let mut stream = connection.open_uni().await.unwrap();
        let old = SegmentHeader { generation: Generation(2), ..header(&[0; 8]) };
        stream.write_all(&[&old.encode()[..], &[0; 8]].concat()).await.unwrap();
        stream.write_all(&[0xff; 64]).await.unwrap();
        connection.closed().await;
        sent.send(()).unwrap();
    });
    // The noise behind the old frame closes the link, so the old one has been seen by then.
    arrived.recv().unwrap();
    assert_eq!(group.counters().outdated_frames(), 1);
    assert!(group.counters().snapshot().is_empty());
}
