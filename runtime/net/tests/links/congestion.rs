//! Long links that lose packets at random, by congestion controller.

use hcrun_net::collective::Options;
use hcrun_net::socket::Emulation;
use hcrun_protocol::link::{Congestion, LinkSpec};
use hcrun_protocol::{BitsPerSec, Span};

use crate::world::{Ranks, World, all_reduce, begin, received};

const RATE: BitsPerSec = BitsPerSec(50_000_000);
const ROUND_TRIP: Span = Span::from_millis(40);
const ELEMS: usize = 1 << 18;

/// 50 Mbit/s, 40 ms and half a percent of loss each way.
fn form(congestion: Congestion) -> Ranks {
    let link = LinkSpec { congestion, rate: Some(RATE), round_trip: Some(ROUND_TRIP), mtu: Some(1_452) };
    let emulation = Emulation {
        delay: Span(ROUND_TRIP.0 / 2),
        rate: Some(RATE),
        queue_bytes: 512 << 10,
        loss: 0.005,
        ..Emulation::default()
    };
    World::over(2, link, &emulation).form()
}

#[test]
fn a_provisioned_link_is_kept_full_where_cubic_holds_back() {
    let [provisioned, cubic] = [Congestion::Provisioned, Congestion::Cubic].map(form);
    let before = [&provisioned, &cubic].map(|ranks| received(&ranks[0]));
    let begin = |ranks: &Ranks| -> Vec<_> {
        ranks.iter().flat_map(|rank| [(); 20].map(|()| begin(rank, ELEMS, &Options::default()))).collect()
    };
    let (waiting, finishing) = (begin(&cubic), begin(&provisioned));
    finishing.into_iter().for_each(|pending| drop(pending.wait().unwrap()));
    let moved = [&provisioned, &cubic].map(|ranks| received(&ranks[0]));
    let [full, held_back] = [moved[0] - before[0], moved[1] - before[1]];
    assert!(2 * full > 3 * held_back, "provisioned moved {full} bytes, cubic meanwhile {held_back}");
    // What cubic has not moved by now is given up.
    cubic[0].group().abort("seen enough");
    waiting.into_iter().for_each(|pending| drop(pending.wait()));
}

#[test]
fn bbr_moves_exact_sums() {
    let ranks = form(Congestion::Bbr);
    for _ in 0..2 {
        all_reduce(&ranks, ELEMS, &Options::default());
    }
}
