//! A whole laboratory: hosts, their interfaces and the relay between them.

use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use anyhow::ensure;
use serde::Serialize;

use super::address::address;
use super::claim::Claim;
use super::namespace::Namespace;
use super::options::Options;
use super::relay::Relay;
use super::star::{Counters, Host, Star};
use super::tun;

/// Gone when dropped, with all processes on its hosts.
pub(super) struct Laboratory {
    /// Before the namespaces, which are gone only after the last file in them is closed.
    relay: Relay,
    namespaces: Vec<Namespace>,
    options: Options,
    /// After the namespaces: while there is one, it is claimed.
    _claim: Claim,
}

/// What a command reads from `HCRUN_LAB`.
#[derive(Serialize)]
struct Description<'a> {
    schema: u32,
    hosts: Vec<HostDescription<'a>>,
    rate_bps: u64,
    rtt_us: u64,
    jitter_us: u64,
    loss: f64,
    queue_bytes: u64,
    mtu: u16,
    seed: u64,
    reorder: bool,
}

#[derive(Serialize)]
struct HostDescription<'a> {
    namespace: &'a str,
    address: Ipv4Addr,
}

/// # Errors
///
/// Why this user or machine can have no laboratory, and what helps.
pub(super) fn claim() -> anyhow::Result<Claim> {
    ensure!(
        rustix::process::geteuid().is_root(),
        "a laboratory makes network namespaces and TUN interfaces, which takes root; run it as root (`sudo -E`)"
    );
    ensure!(
        Path::new("/dev/net/tun").exists(),
        "there is no /dev/net/tun; load the module (`modprobe tun`) or give the container the device"
    );
    let claim = Claim::new()?;
    Namespace::new(&claim, 0).map(drop)?;
    Ok(claim)
}

impl Laboratory {
    pub(super) fn new(claim: Claim, options: &Options) -> anyhow::Result<Laboratory> {
        let mut namespaces = Vec::new();
        let mut interfaces = Vec::new();
        for host in (0..options.hosts).map(Host) {
            let namespace = Namespace::new(&claim, host.0 + 1)?;
            interfaces.push(connect(&namespace, host, options.mtu)?);
            namespaces.push(namespace);
        }
        let star = Star::new(options.hosts, options.rate, options.queue, options.link(), options.seed);
        let relay = Relay::start(interfaces, star)?;
        Ok(Laboratory { relay, namespaces, options: options.clone(), _claim: claim })
    }

    pub(super) fn namespace(&self, host: Host) -> &Namespace {
        &self.namespaces[host.0]
    }

    pub(super) fn relay_cpu_time(&self) -> Duration {
        self.relay.cpu_time()
    }

    /// What a command reads from `HCRUN_LAB`, as JSON.
    pub(super) fn description(&self) -> anyhow::Result<String> {
        let hosts = self.namespaces.iter().enumerate();
        let hosts = hosts.map(|(index, namespace)| HostDescription {
            namespace: namespace.name(),
            address: address(Host(index)),
        });
        let options = &self.options;
        let description = Description {
            schema: 1,
            hosts: hosts.collect(),
            rate_bps: options.rate.0,
            rtt_us: micros(options.rtt),
            jitter_us: micros(options.jitter),
            loss: options.loss,
            queue_bytes: options.queue.0,
            mtu: options.mtu,
            seed: options.seed,
            reorder: options.reorder,
        };
        Ok(serde_json::to_string(&description)?)
    }

    /// Removes it and says what its hosts sent, got and lost.
    pub(super) fn finish(mut self) -> anyhow::Result<Vec<Counters>> {
        self.relay.stop()
    }
}

fn connect(namespace: &Namespace, host: Host, mtu: u16) -> anyhow::Result<OwnedFd> {
    let interface = namespace.enter(tun::open)?;
    // Nobody answers the packets with which IPv6 looks for its neighbours.
    namespace.ip(&["link", "set", tun::INTERFACE, "addrgenmode", "none"])?;
    namespace.ip(&["addr", "add", &format!("{}/24", address(host)), "dev", tun::INTERFACE])?;
    let (mtu, queue) = (mtu.to_string(), TRANSMIT_QUEUE_PACKETS.to_string());
    namespace.ip(&["link", "set", tun::INTERFACE, "mtu", &mtu, "txqueuelen", &queue, "up"])?;
    Ok(interface)
}

pub(super) fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// Drops shall happen in the emulated queue, where they are counted, not before the relay has read: the default of 500
/// is less than one window on a long link.
const TRANSMIT_QUEUE_PACKETS: u32 = 10_000;

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::UdpSocket;
    use std::time::Instant;

    use super::*;

    fn laboratory(options: &Options) -> Option<Laboratory> {
        match claim() {
            Ok(claim) => Some(Laboratory::new(claim, options).unwrap()),
            Err(why) => {
                // Not by a macro: the output of a test that passes is not shown.
                let _ = writeln!(std::io::stderr(), "SKIPPED: no laboratory here: {why:#}");
                None
            }
        }
    }

    fn udp(laboratory: &Laboratory, host: usize) -> UdpSocket {
        let bind = || Ok(UdpSocket::bind((address(Host(host)), 0))?);
        laboratory.namespace(Host(host)).enter(bind).unwrap()
    }

    #[test]
    fn an_echo_takes_the_round_trip_and_nothing_is_left() {
        let options = Options { rtt: Duration::from_millis(30), ..Options::default() };
        let Some(laboratory) = laboratory(&options) else { return };
        let (near, far) = (udp(&laboratory, 0), udp(&laboratory, 1));
        let mut buffer = [0; 16];

        let start = Instant::now();
        near.send_to(b"there", far.local_addr().unwrap()).unwrap();
        let (bytes, from) = far.recv_from(&mut buffer).unwrap();
        assert_eq!((&buffer[..bytes], from), (&b"there"[..], near.local_addr().unwrap()));
        far.send_to(b"and back", from).unwrap();
        let bytes = near.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..bytes], b"and back");
        assert!(start.elapsed() >= options.rtt, "{:?}", start.elapsed());

        let names: Vec<String> =
            (0..2).map(|host| laboratory.namespace(Host(host)).name().to_owned()).collect();
        let exists = |name: &String| Path::new("/run/netns").join(name).exists();
        assert!(names.iter().all(exists));
        // Sockets keep their namespace.
        drop((near, far));
        let counters = laboratory.finish().unwrap();
        assert_eq!(counters[0].received_packets, 1);
        assert!(!names.iter().any(exists));
    }

    #[test]
    fn processes_on_a_host_end_with_it() {
        let Some(laboratory) = laboratory(&Options::default()) else { return };
        let name = laboratory.namespace(Host(0)).name();
        let mut process = std::process::Command::new("ip")
            .args(["netns", "exec", name, "sh", "-c", "echo started; exec sleep 1000"])
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut started = [0; 8];
        std::io::Read::read_exact(process.stdout.as_mut().unwrap(), &mut started).unwrap();
        drop(laboratory);
        assert!(!process.wait().unwrap().success());
    }

    #[test]
    fn the_description_is_json() {
        let Some(laboratory) = laboratory(&Options { hosts: 3, ..Options::default() }) else { return };
        let description: serde_json::Value =
            serde_json::from_str(&laboratory.description().unwrap()).unwrap();
        assert_eq!(description["hosts"][2]["address"], "10.79.0.3");
        assert_eq!(description["hosts"][0]["namespace"], laboratory.namespace(Host(0)).name());
        assert_eq!(description["rate_bps"], 200_000_000);
        assert_eq!(description["rtt_us"], 40_000);
        assert_eq!(description["queue_bytes"], 1_000_000);
    }
}
