//! What the emulated link really gives on this machine, and what the relay costs.

use std::net::{TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::net::sockopt::{
    set_socket_recv_buffer_size_force, set_socket_send_buffer_size_force, set_tcp_congestion,
};
use serde::Serialize;

use super::address::address;
use super::laboratory::{Laboratory, micros};
use super::options::Options;
use super::priority;
use super::probe::{round_trips, tcp_goodput, udp_goodput};
use super::star::Host;
use super::units::BitsPerSec;

#[derive(Serialize)]
pub(super) struct Calibration {
    round_trip: RoundTrip,
    /// What the rate leaves for UDP payload after headers and loss.
    udp_ideal_bps: f64,
    udp_one_way: Goodput,
    /// The slower direction.
    udp_both_ways: Goodput,
    tcp: Vec<Tcp>,
}

#[derive(Serialize)]
struct RoundTrip {
    sent: u32,
    received: usize,
    min_us: u64,
    median_us: u64,
    max_us: u64,
}

#[derive(Serialize)]
struct Goodput {
    goodput_bps: f64,
    /// Of one core, while this was measured.
    relay_cpu_share: f64,
}

#[derive(Serialize)]
struct Tcp {
    congestion_control: String,
    second_half_bps: f64,
    #[serde(flatten)]
    mean: Goodput,
}

/// Takes about a minute.
pub(super) fn calibrate(laboratory: &Laboratory, options: &Options) -> anyhow::Result<Calibration> {
    // The link is measured, not the wait for a core.
    priority::raise();
    Ok(Calibration {
        round_trip: round_trip(laboratory, options)?,
        udp_ideal_bps: udp_ideal_bps(options),
        udp_one_way: udp(laboratory, options, &[[NEAR, FAR]])?,
        udp_both_ways: udp(laboratory, options, &[[NEAR, FAR], [FAR, NEAR]])?,
        tcp: congestion_controls(laboratory)?
            .into_iter()
            .map(|name| tcp(laboratory, options, &name).with_context(|| format!("TCP {name}")))
            .collect::<anyhow::Result<_>>()?,
    })
}

impl Calibration {
    pub(super) fn print(&self) {
        let RoundTrip { sent, received, min_us, median_us, max_us } = self.round_trip;
        let [min, median, max] = [min_us, median_us, max_us].map(|us| us as f64 / 1e3);
        println!(
            "round trip     min {min:.2} ms, median {median:.2} ms, max {max:.2} ms ({received} of {sent})"
        );
        println!("UDP ideal      {:.1} Mbit/s of payload", self.udp_ideal_bps / 1e6);
        println!("UDP one way    {}", self.udp_one_way);
        println!("UDP both ways  {}", self.udp_both_ways);
        for Tcp { congestion_control, second_half_bps, mean } in &self.tcp {
            let second_half = second_half_bps / 1e6;
            println!("TCP {congestion_control:10} {mean}; {second_half:.1} Mbit/s in the second half");
        }
    }
}

impl std::fmt::Display for Goodput {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (rate, share) = (self.goodput_bps / 1e6, 100.0 * self.relay_cpu_share);
        write!(f, "{rate:.1} Mbit/s, relay {share:.0} % of a core")
    }
}

fn round_trip(laboratory: &Laboratory, options: &Options) -> anyhow::Result<RoundTrip> {
    let mut trips =
        round_trips(&udp_on(laboratory, NEAR)?, &udp_on(laboratory, FAR)?, PINGS, patience(options))?;
    trips.sort_unstable();
    let middle = trips.get(trips.len() / 2).context("no reply came back; is the loss near 100 %?")?;
    Ok(RoundTrip {
        sent: PINGS,
        received: trips.len(),
        min_us: micros(trips[0]),
        median_us: micros(*middle),
        max_us: micros(trips[trips.len() - 1]),
    })
}

fn udp(laboratory: &Laboratory, options: &Options, directions: &[[Host; 2]]) -> anyhow::Result<Goodput> {
    let offered = BitsPerSec(options.rate.0 + options.rate.0 / 10);
    let measure = |direction: &[Host; 2]| {
        let [from, to] = direction.map(|host| udp_on(laboratory, host));
        let sockets = [&from?, &to?];
        let goodput = udp_goodput(sockets, udp_payload(options), offered, UDP_LENGTH, patience(options))?;
        anyhow::Ok(goodput)
    };
    with_cpu_share(laboratory, || {
        std::thread::scope(|scope| {
            let threads: Vec<_> =
                directions.iter().map(|direction| scope.spawn(move || measure(direction))).collect();
            let goodputs = threads.into_iter().map(|thread| thread.join().expect("the probe does not panic"));
            goodputs.collect::<anyhow::Result<Vec<f64>>>()
        })
    })
    .map(|(goodputs, relay_cpu_share)| Goodput {
        goodput_bps: goodputs.into_iter().fold(f64::INFINITY, f64::min),
        relay_cpu_share,
    })
}

fn tcp(laboratory: &Laboratory, options: &Options, congestion_control: &str) -> anyhow::Result<Tcp> {
    let listener = laboratory.namespace(FAR).enter(|| Ok(TcpListener::bind((address(FAR), 0))?))?;
    let (to, buffer) = (listener.local_addr()?, window_bytes(options));
    // Before it connects: the window's scale is agreed on then.
    set_socket_recv_buffer_size_force(&listener, buffer)?;
    let from = laboratory.namespace(NEAR).enter(|| Ok(TcpStream::connect(to)?))?;
    set_socket_send_buffer_size_force(&from, buffer)?;
    set_tcp_congestion(&from, congestion_control)?;
    let (to, _) = listener.accept()?;
    let (goodput, relay_cpu_share) = with_cpu_share(laboratory, || Ok(tcp_goodput(from, to, TCP_LENGTH)?))?;
    Ok(Tcp {
        congestion_control: congestion_control.to_owned(),
        second_half_bps: goodput.second_half_bps,
        mean: Goodput { goodput_bps: goodput.mean_bps, relay_cpu_share },
    })
}

fn with_cpu_share<T>(
    laboratory: &Laboratory,
    work: impl FnOnce() -> anyhow::Result<T>,
) -> anyhow::Result<(T, f64)> {
    let (start, cpu_start) = (Instant::now(), laboratory.relay_cpu_time());
    let value = work()?;
    let cpu = laboratory.relay_cpu_time() - cpu_start;
    Ok((value, cpu.as_secs_f64() / start.elapsed().as_secs_f64()))
}

/// What processes on a host may choose from.
fn congestion_controls(laboratory: &Laboratory) -> anyhow::Result<Vec<String>> {
    let path = "/proc/sys/net/ipv4/tcp_available_congestion_control";
    let names = laboratory.namespace(NEAR).enter(|| std::fs::read_to_string(path).context(path))?;
    Ok(names.split_whitespace().map(str::to_owned).collect())
}

/// Enough for a window that fills link and queue: the system's limits are not the link's. Twice, since the kernel counts
/// its own overhead.
fn window_bytes(options: &Options) -> usize {
    let on_the_way = u128::from(options.rate.0) * options.rtt.as_micros() / 8_000_000;
    usize::try_from(2 * (on_the_way + u128::from(options.queue.0)))
        .unwrap_or(usize::MAX)
        .min(MAX_WINDOW_BYTES)
}

fn udp_on(laboratory: &Laboratory, host: Host) -> anyhow::Result<UdpSocket> {
    laboratory.namespace(host).enter(|| Ok(UdpSocket::bind((address(host), 0))?))
}

fn udp_payload(options: &Options) -> usize {
    usize::from(options.mtu) - IP_AND_UDP_HEADER_BYTES
}

fn udp_ideal_bps(options: &Options) -> f64 {
    let payload = udp_payload(options) as f64 / f64::from(options.mtu);
    options.rate.0 as f64 * payload * (1.0 - options.loss)
}

/// A packet that waited in two full queues and one that has to wait for a core are not lost yet.
fn patience(options: &Options) -> Duration {
    let queue = Duration::from_secs_f64(8.0 * options.queue.0 as f64 / options.rate.0 as f64);
    options.rtt + options.jitter * 2 + queue * 4 + Duration::from_secs(1)
}

const NEAR: Host = Host(0);
const FAR: Host = Host(1);
const PINGS: u32 = 40;
const UDP_LENGTH: Duration = Duration::from_secs(5);
/// Slow start on a long link takes some seconds of it.
const TCP_LENGTH: Duration = Duration::from_secs(10);
/// What the kernel takes is a signed 32-bit number, half of it.
const MAX_WINDOW_BYTES: usize = 1 << 30;
const IP_AND_UDP_HEADER_BYTES: usize = 28;
