//! The UDP socket of an endpoint, between quinn and the kernel.
//!
//! quinn alone would lose every batch longer than 64 KiB without a word (the kernel answers EMSGSIZE, which
//! is taken for a failed probe of the path's MTU), read into buffers of 128 MiB, and leave the kernel's own
//! buffers at a size that holds fewer than a hundred packets. Here batches are capped, buffers are sized and
//! read back, and what the kernel drops can be counted. An emulated link ([`Emulation`]) can stand in front
//! of the socket, for tests and rehearsals.

mod drops;
mod emulation;
mod wire;

use std::io::{self, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, Runtime, TokioRuntime, UdpPoller};
use rustix::net::sockopt;

pub use drops::dropped_by_kernel;
pub use emulation::{Cut, Emulation};

use wire::Wire;

/// The longest payload of one UDP send over IPv4, also of a batch.
const LONGEST_SEND: usize = 65_507;
/// Longest train of packets that the kernel hands over as one.
const LONGEST_TRAIN: usize = 65_536;
/// Trains read at once: what is read stays in the cache until it has been decrypted.
const TRAINS_PER_READ: usize = 2;
/// Asked of the kernel, which clamps at `net.core.rmem_max` and `wmem_max` where the process may not exceed
/// them.
const SOCKET_BUFFER_BYTES: usize = 8 << 20;

/// What the kernel granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SocketBuffers {
    pub receive_bytes: usize,
    pub send_bytes: usize,
}

/// Widens the socket's buffers as far as the kernel lets this process.
pub(crate) fn widen_buffers(socket: &UdpSocket) -> io::Result<SocketBuffers> {
    // The forced ones need CAP_NET_ADMIN; the plain ones are clamped.
    if sockopt::set_socket_recv_buffer_size_force(socket, SOCKET_BUFFER_BYTES).is_err() {
        sockopt::set_socket_recv_buffer_size(socket, SOCKET_BUFFER_BYTES)?;
    }
    sockopt::set_socket_send_buffer_size(socket, SOCKET_BUFFER_BYTES)?;
    let granted = granted(socket)?;
    if granted.receive_bytes < SOCKET_BUFFER_BYTES {
        tracing::debug!(
            granted_bytes = granted.receive_bytes,
            wanted_bytes = SOCKET_BUFFER_BYTES,
            "the UDP receive buffer is clamped: fast links lose packets until `sysctl net.core.rmem_max` is raised"
        );
    }
    Ok(granted)
}

/// What the kernel has granted so far.
pub(crate) fn granted(socket: &UdpSocket) -> io::Result<SocketBuffers> {
    // Linux reports twice what it grants: its own bookkeeping counts too.
    Ok(SocketBuffers {
        receive_bytes: sockopt::socket_recv_buffer_size(socket)? / 2,
        send_bytes: sockopt::socket_send_buffer_size(socket)? / 2,
    })
}

/// A socket with capped batches and reads.
#[derive(Debug)]
pub(crate) struct LaneSocket {
    inner: Arc<dyn AsyncUdpSocket>,
    largest_payload: usize,
    wire: Option<Wire>,
}

impl LaneSocket {
    /// `largest_payload` is the longest UDP payload that either end will send. Needs a tokio runtime around
    /// it.
    pub(crate) fn new(
        socket: UdpSocket,
        largest_payload: u16,
        emulation: Option<&Emulation>,
    ) -> io::Result<LaneSocket> {
        let inner = TokioRuntime.wrap_udp_socket(socket)?;
        let wire = emulation.map(|emulation| Wire::start(inner.clone(), emulation.clone()));
        Ok(LaneSocket { inner, largest_payload: usize::from(largest_payload).max(1), wire })
    }
}

impl AsyncUdpSocket for LaneSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        self.inner.clone().create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        match &self.wire {
            None => self.inner.try_send(transmit),
            Some(wire) => {
                wire.send(transmit);
                Ok(())
            }
        }
    }

    fn poll_recv(
        &self,
        context: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let count = buffers.len().min(TRAINS_PER_READ);
        self.inner.poll_recv(context, &mut buffers[..count], meta)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.inner.max_transmit_segments().min(LONGEST_SEND / self.largest_payload).max(1)
    }

    fn max_receive_segments(&self) -> usize {
        self.inner.max_receive_segments().min(LONGEST_TRAIN.div_ceil(self.largest_payload)).max(1)
    }

    fn may_fragment(&self) -> bool {
        self.inner.may_fragment()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn batches_and_reads_stay_below_64_kib() {
        for (payload, sent, received) in
            [(1_200, 10, 55), (1_452, 10, 46), (6_500, 10, 11), (9_000, 7, 8), (16_000, 4, 5), (65_000, 1, 2)]
        {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            let socket = LaneSocket::new(socket, payload, None).unwrap();
            // quinn itself never batches more than ten.
            assert_eq!(socket.max_transmit_segments().min(10), sent, "{payload}");
            assert!(socket.max_transmit_segments() * usize::from(payload) <= LONGEST_SEND);
            assert_eq!(socket.max_receive_segments(), received, "{payload}");
        }
    }

    #[test]
    fn buffers_are_read_back() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let granted = widen_buffers(&socket).unwrap();
        assert!(granted.receive_bytes > 0 && granted.receive_bytes <= SOCKET_BUFFER_BYTES);
        assert!(granted.send_bytes > 0 && granted.send_bytes <= SOCKET_BUFFER_BYTES);
    }
}
