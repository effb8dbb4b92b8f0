//! Lanes that are not alike.

use hcrun_protocol::BitsPerSec;

use super::*;
use crate::socket::Emulation;

const LANES: usize = 3;
const SLOW: usize = 1;
const LONG_ELEMS: usize = 1 << 20;

/// The bits of both ranks, when lane [`SLOW`] is throttled to `rate`.
fn bits(rate: Option<BitsPerSec>) -> Vec<Vec<u32>> {
    let mut world = World::new(&[2]);
    let shape = Shape {
        zones: world.zones.clone(),
        elems: LONG_ELEMS,
        align: 64,
        segment_elems: 1 << 12,
        algorithm: Algorithm::Direct,
        codec: Codec::None,
        nodes: Vec::new(),
    };
    world.schedule = Schedule::build(Collective::AllReduce, &shape).unwrap();
    world.settings.link.mtu = Some(1_452);
    let slow = Emulation { rate, queue_bytes: 1 << 18, ..Emulation::default() };
    let slow = LaneSettings { emulation: Some(slow), ..world.settings.clone() };
    let bind = |rank: Rank| {
        let mut listener = LaneListener::empty(&world.identity(rank), LANES, &world.settings);
        for lane in 0..LANES {
            let settings = if lane == SLOW { &slow } else { &world.settings };
            listener.add(lane, LOOPBACK, None, settings).unwrap();
        }
        listener
    };
    let listeners: Vec<_> = world.ranks().into_iter().map(bind).collect();
    let member = |(rank, listener): (Rank, &LaneListener)| world.member(rank, listener.addresses());
    let members: Vec<Member> = world.ranks().into_iter().zip(&listeners).map(member).collect();
    let groups: Vec<_> = form_all(listeners, &members).into_iter().map(Result::unwrap).collect();
    let submit = |(group, rank): (&Group<Memory>, Rank)| {
        #[expect(clippy::cast_precision_loss, reason = "any float does")]
        let own = (0..LONG_ELEMS).map(|i| 1.0 / (i + 3 * rank.index() + 1) as f32).collect();
        group.submit(RoundSpec {
            buffers: Memory::new(own),
            deadline: Span::from_secs(8),
            ..world.round(rank, 0, 0)
        })
    };
    let handles: Vec<_> = groups.iter().zip(world.ranks()).map(submit).collect();
    handles.into_iter().map(|handle| handle.wait().unwrap().bits(0..LONG_ELEMS)).collect()
}

#[test]
fn a_slow_lane_takes_what_it_can_and_changes_no_bit() {
    // Its third of the bytes would take the slow lane 11 seconds, which is more than the deadline.
    let slow = bits(Some(BitsPerSec(1_000_000)));
    let even = bits(None);
    assert!(slow.iter().chain(&even).all(|bits| *bits == even[0]));
}
