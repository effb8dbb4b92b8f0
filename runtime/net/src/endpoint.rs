//! UDP sockets and QUIC endpoints with the settings that every link here shares.
//!
//! A first packet over three times 1,200 bytes would never be answered (the peer's address is not proven
//! yet), so packets start small and discovery raises them, up to a ceiling by kind of address.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use quinn::{
    AckFrequencyConfig, ClientConfig, Endpoint, EndpointConfig, IdleTimeout, MtuDiscoveryConfig,
    ServerConfig, TokioRuntime, TransportConfig, VarInt,
};

use hcrun_protocol::link::LinkSpec;

use crate::congestion;
use crate::identity::{Alpn, Identity, client_config, server_config};
use crate::socket::{self, Emulation, LaneSocket};

/// Why no socket could be bound.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    #[error("UDP ports {first}-{last} of {ip} are all in use: free one or widen the pool's `listen_ports`")]
    PortsInUse { ip: IpAddr, first: u16, last: u16 },
    #[error("cannot bind UDP {address}: choose an address of this host and a port that is free")]
    Bind {
        address: SocketAddr,
        #[source]
        source: io::Error,
    },
    #[error("cannot set up the UDP socket of {address}")]
    Socket {
        address: SocketAddr,
        #[source]
        source: io::Error,
    },
    #[error("the TLS settings cannot be used")]
    Tls(#[from] rustls::Error),
    #[error("cannot start the thread of a lane")]
    Thread(#[source] io::Error),
}

/// What a link carries, which decides windows and streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LinkKind {
    /// Small messages, now and then a checkpoint's segments.
    Control,
    /// Segments: one stream each way, besides the one for greeting and probes. Ends after this silence.
    Data { silence: Duration, link: LinkSpec, lanes: usize },
}

/// How long a control link may be silent. Heartbeats find the dead sooner, this bound is for links on which
/// nobody waits.
pub(crate) const IDLE: Duration = Duration::from_secs(10);

impl LinkKind {
    /// How long the link may be silent.
    pub(crate) fn idle(self) -> Duration {
        match self {
            LinkKind::Control => IDLE,
            // QUIC counts from the first packet that found no answer, up to a keep-alive after the last one
            // that was heard.
            LinkKind::Data { silence, .. } => silence.saturating_sub(LINK_ALLOWANCE).max(SHORTEST_SILENCE),
        }
    }

    /// The longest payload it may try, if that is set.
    pub(crate) fn mtu(self) -> Option<u16> {
        match self {
            LinkKind::Control => None,
            LinkKind::Data { link, .. } => link.mtu,
        }
    }

    /// Well below [`Self::idle`], so that a few lost packets do not end a link, and on data links so short
    /// that a process that was starved for nearly `idle` wakes up to links that still stand.
    fn keep_alive(self) -> Duration {
        match self {
            LinkKind::Control => IDLE / 5,
            LinkKind::Data { .. } => self.idle() / 32,
        }
    }
}

const LINK_ALLOWANCE: Duration = Duration::from_millis(100);
const SHORTEST_SILENCE: Duration = Duration::from_millis(500);

/// Handshake, greeting and everything else a stranger may make us wait for.
pub(crate) const GREETING_DEADLINE: Duration = Duration::from_secs(5);
/// How long the close of an endpoint may take. The close itself is sent at once; a peer that does not get it
/// finds out by itself.
pub(crate) const LAST_WORDS: Duration = Duration::from_millis(300);
/// Connections that may be in their handshake at once; more are turned away unanswered.
pub(crate) const PENDING_LIMIT: usize = 64;

/// On loopback the work is by packet, not by byte: data links try nearly the longest there is, if the socket
/// buffers hold many of them.
const LOOPBACK_MTU: u16 = 9_000;
const LONGEST_LOOPBACK_MTU: u16 = 64_000;
const MANY_LONG_PACKETS_BYTES: usize = 2 << 20;
/// Ethernet less IPv6, UDP and a margin: passes every path that passes QUIC at its best.
const INTERNET_MTU: u16 = 1_452;
const INITIAL_MTU: u16 = 1_200;
/// What quinn itself expects of a peer that says nothing.
const SMALLEST_CEILING: u16 = 1_472;

/// What a data link of unknown rate may have on its way, over all its lanes.
const DATA_WINDOW: u64 = 16 << 20;
/// On loopback a round trip takes microseconds: what is on its way should stay in the cache.
const LOOPBACK_WINDOW: u64 = 512 << 10;
const SMALLEST_WINDOW: u64 = 128 << 10;
/// Three times what a link holds: a window that opens only when half of it was read, and a lost round trip.
const WINDOW_PER_DELAY: u64 = 3;
/// quinn-proto ends a connection whose stream has more than 1,024 gaps. So much in the shortest packets has
/// about 700 of them when a twentieth is lost; a link that holds more needs more lanes.
const LONGEST_STREAM_WINDOW: u64 = 16 << 20;
const CONTROL_STREAM_WINDOW: u32 = 2 << 20;

/// Binds a UDP socket: at `port`, or at the first free one of `ports`, or at any.
pub(crate) fn bind(ip: IpAddr, ports: Option<[u16; 2]>) -> Result<UdpSocket, BindError> {
    let [first, last] = ports.unwrap_or([0, 0]);
    for port in first..=last {
        let address = SocketAddr::new(ip, port);
        match UdpSocket::bind(address) {
            Ok(socket) => {
                socket::widen_buffers(&socket).map_err(|source| BindError::Socket { address, source })?;
                return Ok(socket);
            }
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && ports.is_some() => {}
            Err(source) => return Err(BindError::Bind { address, source }),
        }
    }
    Err(BindError::PortsInUse { ip, first, last })
}

/// A socket from which `target` can be dialled.
pub(crate) fn bind_towards(target: SocketAddr) -> Result<UdpSocket, BindError> {
    let ip = match target.ip() {
        ip if ip.is_loopback() => ip,
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    bind(ip, None)
}

/// An endpoint on `socket`; with `server` it also answers. Needs a tokio runtime around it.
pub(crate) fn endpoint(
    socket: UdpSocket,
    server: Option<ServerConfig>,
    mtu: Option<u16>,
    emulation: Option<&Emulation>,
) -> Result<Endpoint, BindError> {
    let address = socket.local_addr().map_err(|source| BindError::Socket {
        address: SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0),
        source,
    })?;
    let failed = |source| BindError::Socket { address, source };
    let ceiling = ceiling(mtu, address.ip()).max(SMALLEST_CEILING);
    let mut config = EndpointConfig::default();
    config.max_udp_payload_size(ceiling).expect("at least 1,200: the constants above");
    let socket = LaneSocket::new(socket, ceiling, emulation).map_err(failed)?;
    Endpoint::new_with_abstract_socket(config, server, Arc::new(socket), Arc::new(TokioRuntime))
        .map_err(failed)
}

/// What an endpoint answers with.
pub(crate) fn server(
    identity: &Identity,
    alpn: Alpn,
    kind: LinkKind,
    ip: IpAddr,
) -> Result<ServerConfig, BindError> {
    Ok(server_with(server_config(identity, alpn)?, kind, ip))
}

pub(crate) fn server_with(
    crypto: Arc<quinn::crypto::rustls::QuicServerConfig>,
    kind: LinkKind,
    ip: IpAddr,
) -> ServerConfig {
    let mut config = ServerConfig::with_crypto(crypto);
    config.transport_config(Arc::new(transport(kind, ip)));
    config.max_incoming(PENDING_LIMIT);
    // Addresses do not change during a run; a change would be somebody else's.
    config.migration(false);
    config
}

/// What an endpoint dials with.
pub(crate) fn client(
    identity: &Identity,
    alpn: Alpn,
    kind: LinkKind,
    ip: IpAddr,
) -> Result<ClientConfig, BindError> {
    Ok(client_with(client_config(identity, alpn)?, kind, ip))
}

pub(crate) fn client_with(
    crypto: Arc<quinn::crypto::rustls::QuicClientConfig>,
    kind: LinkKind,
    ip: IpAddr,
) -> ClientConfig {
    let mut config = ClientConfig::new(crypto);
    config.transport_config(Arc::new(transport(kind, ip)));
    config
}

/// The longest payload that discovery may try.
fn ceiling(mtu: Option<u16>, ip: IpAddr) -> u16 {
    let usual = if ip.is_loopback() { LOOPBACK_MTU } else { INTERNET_MTU };
    mtu.unwrap_or(usual).max(INITIAL_MTU)
}

/// The longest payload that a data link of unknown path tries from this socket.
pub(crate) fn usual_data_mtu(socket: &UdpSocket, ip: IpAddr) -> io::Result<u16> {
    let roomy = socket::granted(socket)?.receive_bytes >= MANY_LONG_PACKETS_BYTES;
    Ok(if ip.is_loopback() && roomy { LONGEST_LOOPBACK_MTU } else { ceiling(None, ip) })
}

/// Of long packets a few, of short ones ten: an acknowledgement costs about as much as a packet.
fn packets_per_ack(mtu: u16) -> u32 {
    (BYTES_PER_ACK / u32::from(mtu)).clamp(2, 10)
}

const BYTES_PER_ACK: u32 = 90_000;

/// What a data link may have unacknowledged, once it is known how many of them share the peers' buffers.
/// Beyond loopback the links' own rates keep them short.
pub(crate) fn link_window(kind: LinkKind, ip: IpAddr, links: usize, receive_bytes: usize) -> Option<u64> {
    let LinkKind::Data { link, lanes, .. } = kind else { return None };
    let share = (receive_bytes / links.max(1)) as u64;
    ip.is_loopback().then(|| lane_window(&link, lanes, ip).min(share.max(SMALLEST_WINDOW)))
}

/// What may be unacknowledged on one lane.
fn lane_window(link: &LinkSpec, lanes: usize, ip: IpAddr) -> u64 {
    let usual = if ip.is_loopback() { LOOPBACK_WINDOW } else { DATA_WINDOW };
    let delay = link.bandwidth_delay_bytes().unwrap_or(0);
    (delay.saturating_mul(WINDOW_PER_DELAY).max(usual) / lanes as u64).max(SMALLEST_WINDOW)
}

fn idle_timeout(kind: LinkKind) -> IdleTimeout {
    IdleTimeout::try_from(kind.idle()).unwrap_or(VarInt::MAX.into())
}

/// Worst case of memory per peer: the receive window of its streams, and as much waiting to be sent.
fn transport(kind: LinkKind, ip: IpAddr) -> TransportConfig {
    let mut config = TransportConfig::default();
    let mut discovery = MtuDiscoveryConfig::default();
    discovery.upper_bound(ceiling(kind.mtu(), ip)).minimum_change(200);
    config
        .initial_mtu(INITIAL_MTU)
        .mtu_discovery_config(Some(discovery))
        .max_idle_timeout(Some(idle_timeout(kind)))
        .keep_alive_interval(Some(kind.keep_alive()))
        .datagram_receive_buffer_size(None)
        .max_concurrent_bidi_streams(VarInt::from_u32(1));
    match kind {
        LinkKind::Control => {
            config
                .max_concurrent_uni_streams(VarInt::from_u32(0))
                .stream_receive_window(VarInt::from_u32(CONTROL_STREAM_WINDOW))
                .receive_window(VarInt::from_u32(CONTROL_STREAM_WINDOW))
                .send_window(u64::from(CONTROL_STREAM_WINDOW));
        }
        LinkKind::Data { link, lanes, .. } => {
            // Fewer acknowledgements: each costs both ends about as much as a data packet.
            let mut acks = AckFrequencyConfig::default();
            acks.ack_eliciting_threshold(VarInt::from_u32(packets_per_ack(ceiling(link.mtu, ip))))
                .max_ack_delay(Some(Duration::from_millis(5)));
            let window = lane_window(&link, lanes, ip);
            let receive = (2 * window).min(LONGEST_STREAM_WINDOW);
            let receive = VarInt::from_u64(receive).unwrap_or(VarInt::MAX);
            config
                .max_concurrent_uni_streams(VarInt::from_u32(1))
                .stream_receive_window(receive)
                .receive_window(receive)
                .send_window(window)
                .send_fairness(false)
                .congestion_controller_factory(congestion::factory(&link, lanes))
                .ack_frequency_config(Some(acks));
            if let Some(round_trip) = link.round_trip {
                config.initial_rtt(Duration::from(round_trip));
            }
        }
    }
    config
}

#[cfg(test)]
mod tests;
