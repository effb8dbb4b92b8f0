//! One rank of a group, as a process: obeys orders on stdin, one JSON value a line, and answers on stdout.

use std::io::{BufRead, Write};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use hcrun_kernels::host_buffers::HostBuffers;
use hcrun_net::collective::{Communicator, Options};
use hcrun_net::group::{FormSpec, LaneListener, LaneSettings, Member};
use hcrun_net::identity::{IdentityPem, PeerName};
use hcrun_net::socket::{Emulation, dropped_by_kernel};
use hcrun_protocol::dtype::Codec;
use hcrun_protocol::job::Algorithm;
use hcrun_protocol::link::LinkSpec;
use hcrun_protocol::{BitsPerSec, Generation, Rank, SlotId, Span, ZoneId};
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// The first order.
#[derive(Serialize, Deserialize)]
pub(super) struct Bind {
    pub(super) identity: IdentityPem,
    pub(super) rank: Rank,
    pub(super) ip: IpAddr,
    pub(super) lanes: usize,
    pub(super) link: LinkSpec,
    pub(super) emulate: Option<Emulate>,
}

/// A link inside the process, in place of a laboratory's: for more ranks than a relay could serve here.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Emulate {
    pub(crate) rate: BitsPerSec,
    pub(crate) round_trip: Span,
    pub(crate) loss: f64,
}

impl Emulate {
    /// What a rank sends; queues hold a round trip, as a laboratory's do.
    fn of_rank(self, rank: Rank) -> Emulation {
        let held = self.rate.bytes_in(self.round_trip).0.max(256 << 10);
        Emulation {
            seed: u64::from(rank.0) + 1,
            delay: Span(self.round_trip.0 / 2),
            rate: Some(self.rate),
            queue_bytes: usize::try_from(held).unwrap_or(usize::MAX),
            loss: self.loss,
            ..Emulation::default()
        }
    }
}

#[derive(Serialize, Deserialize)]
pub(super) struct Bound {
    pub(super) lanes: Vec<SocketAddr>,
}

/// The second order.
#[derive(Serialize, Deserialize)]
pub(super) struct Form {
    pub(super) members: Vec<FormMember>,
    pub(super) segment_bytes: usize,
}

#[derive(Clone, Serialize, Deserialize)]
pub(super) struct FormMember {
    pub(super) slot: SlotId,
    pub(super) zone: ZoneId,
    pub(super) lanes: Vec<SocketAddr>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Ready {
    pub(super) mtu: u16,
    pub(super) round_trip_us: u64,
}

/// Every further order.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Measure {
    pub(super) bytes: usize,
    /// All-reduces in flight at a time.
    pub(super) count: usize,
    pub(super) warmup: usize,
    pub(super) iterations: usize,
    pub(super) codec: Codec,
    pub(super) algorithm: Option<Algorithm>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Measured {
    pub(super) seconds: Vec<f64>,
    /// User and system time of this process over the iterations.
    pub(super) cpu_s: f64,
    pub(super) max_rss_kib: u64,
    /// The most payload bytes that waited for their turn at once, so far.
    pub(super) most_staged_bytes: u64,
    /// Frame bytes that this rank sent in one iteration.
    pub(super) sent_bytes: u64,
    /// Datagrams that the kernel dropped at this rank's sockets.
    pub(super) dropped: u64,
}

const DEADLINE: Span = Span::from_secs(300);

pub(crate) fn run() -> anyhow::Result<()> {
    let mut orders = std::io::stdin().lock().lines();
    let mut order = move || orders.next().transpose();
    let Some(first) = order()? else { return Ok(()) };
    let bind: Bind = serde_json::from_str(&first).context("the first order")?;
    let identity = bind.identity.read()?;
    let settings = LaneSettings {
        lanes: bind.lanes,
        silence: Duration::from_secs(30),
        link: bind.link,
        emulation: bind.emulate.map(|emulate| emulate.of_rank(bind.rank)),
    };
    let listener = LaneListener::bind(&identity, bind.ip, None, &settings)?;
    let addresses = listener.addresses().to_vec();
    answer(&Bound { lanes: addresses.clone() })?;

    let Some(second) = order()? else { return Ok(()) };
    let form: Form = serde_json::from_str(&second).context("the second order")?;
    let member = |(index, member): (usize, FormMember)| Member {
        rank: Rank::from_index(index),
        slot: member.slot,
        zone: member.zone,
        lanes: member.lanes,
        reachable: true,
    };
    let group = listener.form::<HostBuffers>(FormSpec {
        job: bind.identity.job,
        generation: Generation(1),
        me: bind.rank,
        members: form.members.into_iter().enumerate().map(member).collect(),
        deadline: Duration::from_secs(60),
        staging_bytes: 16 << 20,
        segment_bytes: form.segment_bytes,
    })?;
    let ready = Ready {
        mtu: group.link_reports().iter().map(|report| report.mtu).min().unwrap_or(0),
        round_trip_us: group.link_reports().iter().map(|report| report.round_trip.0).max().unwrap_or(0),
    };
    let communicator = Communicator::new(group, &bind.link)?;
    answer(&ready)?;
    while let Some(line) = order()? {
        let wanted: Measure = serde_json::from_str(&line).context("an order")?;
        answer(&measure(&communicator, &wanted, &addresses)?)?;
    }
    communicator.barrier(&Options::default())?;
    Ok(())
}

fn measure(
    communicator: &Communicator<HostBuffers>,
    wanted: &Measure,
    addresses: &[SocketAddr],
) -> anyhow::Result<Measured> {
    let options = Options {
        deadline: DEADLINE,
        codec: wanted.codec,
        algorithm: wanted.algorithm,
        ..Options::default()
    };
    check(communicator, wanted, &options)?;
    // Zeros stay zeros however often they are summed; values change no cost.
    let mut buffers: Vec<Vec<f32>> = (0..wanted.count).map(|_| vec![0.0; wanted.bytes / 4]).collect();
    let (mut seconds, mut cpu_s, mut sent_bytes) = (Vec::new(), 0.0, 0);
    for iteration in 0..wanted.warmup + wanted.iterations {
        // No iteration counts the wait for a rank that came late to it.
        communicator.barrier(&options)?;
        let (start, cpu_start, sent_start) = (Instant::now(), cpu_seconds(), sent(communicator));
        let pending = buffers
            .drain(..)
            .map(|values| communicator.all_reduce(HostBuffers::new(values), &options))
            .collect::<Result<Vec<_>, _>>()?;
        for pending in pending {
            buffers.push(pending.wait()?.into_vec().context("f32")?);
        }
        if iteration >= wanted.warmup {
            seconds.push(start.elapsed().as_secs_f64());
            cpu_s += cpu_seconds() - cpu_start;
            sent_bytes = sent(communicator) - sent_start;
        }
    }
    let dropped = addresses.iter().filter_map(|address| dropped_by_kernel(*address)).sum();
    let most_staged_bytes = communicator.group().counters().most_staged_bytes();
    Ok(Measured { seconds, cpu_s, max_rss_kib: max_rss_kib(), most_staged_bytes, sent_bytes, dropped })
}

/// Sums of small whole numbers are exact, whatever is added first.
fn check(
    communicator: &Communicator<HostBuffers>,
    wanted: &Measure,
    options: &Options,
) -> anyhow::Result<()> {
    let value = |rank: usize, index: usize| ((index * 7 + rank * 3) % 5) as f32;
    let me = communicator.group().me().index();
    let ranks = communicator.ranks().len();
    let own: Vec<f32> = (0..wanted.bytes / 4).map(|index| value(me, index)).collect();
    let sum = communicator.all_reduce(HostBuffers::new(own), options)?.wait()?;
    let sum: Vec<f32> = sum.into_vec().context("f32")?;
    // A block codec keeps whole numbers only where their scale is one.
    let tolerance = if wanted.codec.block_elems() > 1 { ranks as f32 } else { 0.0 };
    for (index, sum) in sum.into_iter().enumerate() {
        let expected: f32 = (0..ranks).map(|rank| value(rank, index)).sum();
        ensure!((sum - expected).abs() <= tolerance, "element {index} is {sum}, expected {expected}");
    }
    Ok(())
}

fn sent(communicator: &Communicator<HostBuffers>) -> u64 {
    communicator.group().counters().snapshot().iter().map(|row| row.sent).sum()
}

fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

fn max_rss_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

fn answer(value: &impl Serialize) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", serde_json::to_string(value)?)?;
    Ok(out.flush()?)
}

/// The slot of a rank; all are in one zone.
pub(super) fn name(rank: Rank) -> anyhow::Result<(SlotId, PeerName)> {
    let slot = SlotId::parse(&format!("bench-{}", rank.0))?;
    Ok((slot.clone(), PeerName::Slot(slot)))
}
