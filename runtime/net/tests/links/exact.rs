//! Links that delay, lose, reorder, repeat and throttle: the sums stay the same.

use hcrun_net::collective::Options;
use hcrun_net::group::LaneSettings;
use hcrun_net::socket::Emulation;
use hcrun_protocol::job::Algorithm;
use hcrun_protocol::link::LinkSpec;
use hcrun_protocol::{BitsPerSec, Span};

use crate::world::{World, all_reduce};

/// Not a multiple of anything.
const ELEMS: usize = 50_021;
/// Packets of the internet's length, so that there are many.
const INTERNET: Option<u16> = Some(1_452);

/// Three ranks and every algorithm for one zone, twice each: the second meets windows that the first left.
#[track_caller]
fn check(emulation: Emulation) {
    let link = LinkSpec { mtu: INTERNET, ..LinkSpec::default() };
    let ranks = World::over(3, link, &emulation).form();
    for algorithm in [Algorithm::OneShot, Algorithm::Direct, Algorithm::Ring] {
        let options = Options { algorithm: Some(algorithm), ..Options::default() };
        all_reduce(&ranks, ELEMS, &options);
        all_reduce(&ranks, ELEMS, &options);
    }
}

#[test]
fn short_delay() {
    check(Emulation { delay: Span::from_millis(10), ..Emulation::default() });
}

#[test]
fn long_delay_with_jitter() {
    check(Emulation { delay: Span::from_millis(50), jitter: Span::from_millis(5), ..Emulation::default() });
}

#[test]
fn one_packet_of_a_hundred_is_lost() {
    check(Emulation { delay: Span::from_millis(2), loss: 0.01, ..Emulation::default() });
}

#[test]
fn one_packet_of_twenty_is_lost() {
    check(Emulation { delay: Span::from_millis(2), loss: 0.05, ..Emulation::default() });
}

#[test]
fn packets_are_reordered_and_repeated() {
    let delay = Span::from_millis(2);
    check(Emulation { delay, reorder: 0.02, repeat: 0.01, ..Emulation::default() });
}

#[test]
fn a_slow_link_drops_what_its_short_queue_cannot_hold() {
    check(Emulation {
        delay: Span::from_millis(5),
        rate: Some(BitsPerSec(50_000_000)),
        queue_bytes: 30_000,
        ..Emulation::default()
    });
}

#[test]
fn a_link_that_does_everything_at_once() {
    check(Emulation {
        delay: Span::from_millis(5),
        jitter: Span::from_millis(3),
        rate: Some(BitsPerSec(100_000_000)),
        queue_bytes: 100_000,
        loss: 0.01,
        repeat: 0.005,
        reorder: 0.01,
        ..Emulation::default()
    });
}

#[test]
fn packets_of_any_length_arrive() {
    for mtu in [1_200, 1_452, 8_952, 16_000, 64_000] {
        // Not emulated: batches of packets go to the kernel in one call, which must not be too long.
        let link = LinkSpec { mtu: Some(mtu), ..LinkSpec::default() };
        let settings = LaneSettings { link, ..LaneSettings::default() };
        let ranks = World::new(vec![settings; 2]).form();
        // Discovery raises the length by and by. A link that drops long batches moves only what it sends again
        // by itself, a packet at a time.
        let options = Options { deadline: Span::from_secs(4), ..Options::default() };
        for _ in 0..4 {
            all_reduce(&ranks, 1 << 20, &options);
        }
    }
}
