//! A window so long that QUIC's reassembly, which ends a connection whose stream is in too many pieces, could
//! take a reader that lags for an attack.

use hcrun_net::collective::Options;
use hcrun_net::group::LaneSettings;
use hcrun_protocol::job::Algorithm;
use hcrun_protocol::link::LinkSpec;
use hcrun_protocol::{BitsPerSec, Span};

use crate::world::{World, assert_exact, begin, sent, until};

/// More than two thousand packets.
const MANY_BYTES: u64 = 4 << 20;

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
