//! What the numbers are held to, where there is something to hold them against.

use std::fmt;

use hcrun_protocol::dtype::Codec;
use serde::Serialize;

use super::Row;
use super::options::Options;
use crate::link::Link;

/// One bound and how a run stands to it.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Verdict {
    pub(crate) what: String,
    pub(crate) bound: f64,
    pub(crate) got: f64,
    pub(crate) kept: bool,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = if self.kept { "kept" } else { "MISSED" };
        write!(f, "{word}: {}: {:.3}, bound {:.3}", self.what, self.got, self.bound)
    }
}

/// On loopback, by ranks, bytes and codec: the largest ratio of times to Gloo's.
const RATIOS: &[(usize, usize, Codec, f64)] = &[
    (2, 64 << 10, Codec::None, 1.5),
    (2, 64 << 20, Codec::None, 1.0),
    (2, 64 << 20, Codec::Bf16, 0.65),
    (4, 64 << 20, Codec::None, 1.15),
    (4, 64 << 20, Codec::Bf16, 0.75),
];

/// On a laboratory's link, by rate, round trip, loss, ranks, bytes and buffers in flight: the least that
/// each link carries, in Mbit/s of payload.
struct Goodput {
    rate_bps: u64,
    rtt_us: u64,
    lossy: bool,
    ranks: usize,
    bytes: usize,
    count: usize,
    mbit_per_s: f64,
}

/// Of a full packet of 1,500 bytes, what is left after the headers of IP, UDP and QUIC.
const PAYLOAD_SHARE: f64 = 0.957;

const GOODPUTS: &[Goodput] = &[
    Goodput {
        rate_bps: 200_000_000,
        rtt_us: 40_000,
        lossy: false,
        ranks: 2,
        bytes: 16 << 20,
        count: 1,
        mbit_per_s: 170.0,
    },
    Goodput {
        rate_bps: 200_000_000,
        rtt_us: 40_000,
        lossy: false,
        ranks: 2,
        bytes: 16 << 20,
        count: 8,
        mbit_per_s: 182.0,
    },
    Goodput {
        rate_bps: 300_000_000,
        rtt_us: 100_000,
        lossy: true,
        ranks: 2,
        bytes: 64 << 20,
        count: 1,
        mbit_per_s: 240.0,
    },
    Goodput {
        rate_bps: 100_000_000,
        rtt_us: 20_000,
        lossy: false,
        ranks: 8,
        bytes: 5 << 18,
        count: 1,
        mbit_per_s: 0.85 * PAYLOAD_SHARE * 100.0,
    },
    Goodput {
        rate_bps: 100_000_000,
        rtt_us: 20_000,
        lossy: false,
        ranks: 8,
        bytes: 64 << 20,
        count: 1,
        mbit_per_s: 0.95 * PAYLOAD_SHARE * 100.0,
    },
];

pub(super) fn judge(link: &Link, options: &Options, rows: &[Row]) -> Vec<Verdict> {
    let emulated = options.emulate.map(|link| (link.rate.0, link.round_trip.0, link.loss));
    rows.iter().filter_map(|row| judge_row(emulated.or(link.known()), options.ranks, row)).collect()
}

fn judge_row(link: Option<(u64, u64, f64)>, ranks: usize, row: &Row) -> Option<Verdict> {
    let Some((rate_bps, rtt_us, loss)) = link else {
        let matches = |(its, bytes, codec, _): &&(usize, usize, Codec, f64)| {
            (*its, *bytes, *codec, 1) == (ranks, row.bytes, row.codec, row.count)
        };
        let (.., bound) = RATIOS.iter().find(matches)?;
        let got = row.ratio?;
        let what = format!("{ranks} ranks, {} bytes, `{}`: time by Gloo's", row.bytes, row.codec);
        return Some(Verdict { what, bound: *bound, got, kept: got <= *bound });
    };
    let goodput = GOODPUTS.iter().find(|goodput| {
        (goodput.rate_bps, goodput.rtt_us, goodput.lossy) == (rate_bps, rtt_us, loss > 0.0)
            && (goodput.ranks, goodput.bytes, goodput.count) == (ranks, row.bytes, row.count)
            && row.codec == Codec::None
    })?;
    let got = row.hcrun.busbw_gb_per_s * 8e3;
    let (rate, rtt) = (rate_bps / 1_000_000, rtt_us / 1_000);
    let what =
        format!("{ranks} ranks, {} x {} bytes, {rate} Mbit/s, {rtt} ms: Mbit/s a link", row.count, row.bytes);
    Some(Verdict { what, bound: goodput.mbit_per_s, got, kept: got >= goodput.mbit_per_s })
}
