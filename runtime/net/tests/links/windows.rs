//! Windows so long that QUIC's reassembly, which ends a connection whose stream has too many gaps, could
//! break.

use hcrun_net::collective::Options;
use hcrun_net::group::LaneSettings;
use hcrun_net::socket::Emulation;
use hcrun_protocol::job::Algorithm;
use hcrun_protocol::link::{Congestion, LinkSpec};
use hcrun_protocol::{BitsPerSec, Span};

use crate::world::{World, assert_exact, begin, begin_all, sent, until};

/// More than two thousand packets.
const MANY_BYTES: u64 = 4 << 20;

#[test]
fn a_long_window_that_loses_a_twentieth_keeps_its_connection() {
    // As much as this is on its way before the first loss can be made good.
    let (rate, round_trip) = (BitsPerSec(2_000_000_000), Span::from_millis(500));
    let congestion = Congestion::Provisioned;
    let link = LinkSpec { congestion, rate: Some(rate), round_trip: Some(round_trip), mtu: Some(1_200) };
    let emulation = Emulation { delay: Span(round_trip.0 / 2), loss: 0.05, ..Emulation::default() };
    let mut world = World::over(2, link, &emulation);
    world.staging_bytes = 64 << 20;
    world.segment_bytes = 1 << 20;
    let ranks = world.form();
    let elems = 10 << 20;
    assert_exact(&ranks, begin_all(&ranks, elems, &Options::default()), elems);
}

#[test]
fn a_reader_that_lags_behind_a_long_window_gets_everything() {
    let (rate, round_trip) = (BitsPerSec(1_000_000_000), Span::from_millis(100));
    let link =
        LinkSpec { rate: Some(rate), round_trip: Some(round_trip), mtu: Some(1_200), ..LinkSpec::default() };
    let settings = LaneSettings { link, ..LaneSettings::default() };
    let mut world = World::new(vec![settings; 2]);
    // All but a little waits in QUIC.
    world.staging_bytes = 128 << 10;
    let ranks = world.form();
    let options = Options { algorithm: Some(Algorithm::OneShot), ..Options::default() };
    let elems = 6 << 20;
    let ahead = begin(&ranks[1], elems, &options);
    // QUIC takes in no more than 8 MiB that are not acknowledged: beyond that the peer has them.
    until("much of it waits at the late rank", || sent(&ranks[1]) > (8 << 20) + MANY_BYTES);
    let behind = begin(&ranks[0], elems, &options);
    assert_exact(&ranks, vec![behind, ahead], elems);
}
