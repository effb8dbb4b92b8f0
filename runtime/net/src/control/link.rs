//! One end of a control link.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use hcrun_protocol::ZoneId;
use quinn::{Connection, Endpoint, RecvStream, SendStream};

use super::frame::{self, Assembler, Frame, FrameError};
use super::listener::LiveGuard;
use crate::endpoint::{self, BindError, LinkKind};
use crate::identity::{Alpn, Identity, Peer, PeerError};
use crate::loss::{self, CloseCode, LinkLoss};

/// Frame bytes of one control link so far.
#[derive(Debug, Default)]
pub struct ControlCounters {
    sent: AtomicU64,
    received: AtomicU64,
}

impl ControlCounters {
    pub fn sent_bytes(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    pub fn received_bytes(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }
}

/// Why nothing more goes over a control link.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LinkError {
    #[error("lost the control link to {peer}")]
    Lost {
        peer: Peer,
        #[source]
        source: LinkLoss,
    },
    /// The peer's fault; the link is closed.
    #[error("{peer} sent a frame that is refused")]
    Frame {
        peer: Peer,
        #[source]
        source: FrameError,
    },
    /// The caller's fault; the link lives on.
    #[error("a frame for {peer} is too large to send")]
    TooLarge {
        peer: Peer,
        #[source]
        source: FrameError,
    },
}

/// Why no control link could be made.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error(transparent)]
    Bind(#[from] BindError),
    #[error("the coordinator's address {address} cannot be dialled")]
    Address {
        address: SocketAddr,
        #[source]
        source: quinn::ConnectError,
    },
    #[error("no answer from the coordinator at UDP {address} within {} s: check the address and that UDP passes", .within.as_secs_f64())]
    NoAnswer { address: SocketAddr, within: Duration },
    #[error("the link to the coordinator at {address} failed")]
    Handshake {
        address: SocketAddr,
        #[source]
        source: LinkLoss,
    },
    #[error("whoever answers at {address} is not the coordinator")]
    Peer {
        address: SocketAddr,
        #[source]
        source: PeerError,
    },
}

/// A control link, both directions.
pub struct ControlLink {
    pub(super) sender: ControlSender,
    receiver: ControlReceiver,
}

/// The sending half.
pub struct ControlSender {
    pub(super) stream: SendStream,
    /// What a cancelled send left behind, to go out first.
    pub(super) pending: VecDeque<Bytes>,
    shared: Arc<Shared>,
}

/// The receiving half.
pub struct ControlReceiver {
    stream: RecvStream,
    assembler: Assembler,
    shared: Arc<Shared>,
}

pub(super) struct Shared {
    pub(super) peer: Peer,
    pub(super) connection: Connection,
    pub(super) counters: Arc<ControlCounters>,
    /// The dialling end owns its endpoint.
    pub(super) endpoint: Option<Endpoint>,
    /// The listening end's mark that this identity has a link.
    pub(super) _live: Option<LiveGuard>,
}

impl ControlLink {
    /// Dials the coordinator of `zone`. The peer sees nothing of the link until the first frame is sent.
    pub async fn connect(
        identity: &Identity,
        address: SocketAddr,
        zone: &ZoneId,
        within: Duration,
    ) -> Result<ControlLink, ConnectError> {
        let dial = ControlLink::dial(identity, address, zone);
        tokio::time::timeout(within, dial).await.map_err(|_| ConnectError::NoAnswer { address, within })?
    }

    async fn dial(
        identity: &Identity,
        address: SocketAddr,
        zone: &ZoneId,
    ) -> Result<ControlLink, ConnectError> {
        let endpoint = endpoint::endpoint(endpoint::bind_towards(address)?, None, None, None)?;
        let config = endpoint::client(identity, Alpn::Control, LinkKind::Control, address.ip())?;
        let name = Peer::coordinator(zone.clone()).dns_name(identity.job);
        let lost = |error: quinn::ConnectionError| match error {
            quinn::ConnectionError::TimedOut => ConnectError::NoAnswer { address, within: endpoint::IDLE },
            other => ConnectError::Handshake { address, source: other.into() },
        };
        let connection = endpoint
            .connect_with(config, address, &name)
            .map_err(|source| ConnectError::Address { address, source })?
            .await
            .map_err(lost)?;
        let peer = identity.peer_of(&connection).map_err(|source| ConnectError::Peer { address, source })?;
        let streams = connection.open_bi().await.map_err(lost)?;
        Ok(ControlLink::new(
            Shared { peer, connection, counters: Arc::default(), endpoint: Some(endpoint), _live: None },
            streams,
        ))
    }

    pub(super) fn new(shared: Shared, (sending, receiving): (SendStream, RecvStream)) -> ControlLink {
        let shared = Arc::new(shared);
        ControlLink {
            sender: ControlSender { stream: sending, pending: VecDeque::new(), shared: shared.clone() },
            receiver: ControlReceiver { stream: receiving, assembler: Assembler::default(), shared },
        }
    }

    pub fn peer(&self) -> &Peer {
        &self.sender.shared.peer
    }

    /// From where the peer is seen: what it could be dialled at if it listens.
    pub fn remote_address(&self) -> SocketAddr {
        self.sender.shared.connection.remote_address()
    }

    pub fn counters(&self) -> Arc<ControlCounters> {
        self.sender.shared.counters.clone()
    }

    /// See [`ControlSender::send_message`].
    pub async fn send_message(&mut self, message: &[u8]) -> Result<(), LinkError> {
        self.sender.send_message(message).await
    }

    /// See [`ControlReceiver::recv`].
    pub async fn recv(&mut self) -> Result<Frame, LinkError> {
        self.receiver.recv().await
    }

    /// The halves, for a task each. The link ends when both are dropped, or one is closed.
    pub fn split(self) -> (ControlSender, ControlReceiver) {
        (self.sender, self.receiver)
    }

    /// See [`ControlSender::close`].
    pub async fn close(self, code: CloseCode, reason: &str) {
        self.sender.close(code, reason).await;
    }
}

impl ControlSender {
    pub fn peer(&self) -> &Peer {
        &self.shared.peer
    }

    pub fn counters(&self) -> Arc<ControlCounters> {
        self.shared.counters.clone()
    }

    /// Sends one message of at most [`frame::MESSAGE_LIMIT`] bytes.
    ///
    /// # Cancel safety
    /// A cancelled send is finished by the next one: the frame goes out whole or, with the link, not at all.
    pub async fn send_message(&mut self, message: &[u8]) -> Result<(), LinkError> {
        let frame = frame::message(message).map_err(|source| self.too_large(source))?;
        self.pending.push_back(frame);
        self.flush().await
    }

    /// Sends one segment: its header as it is and at most [`frame::SEGMENT_LIMIT`] bytes of payload,
    /// which are not copied.
    ///
    /// # Cancel safety
    /// As [`Self::send_message`].
    pub async fn send_segment(&mut self, header: &[u8; 64], payload: Bytes) -> Result<(), LinkError> {
        let head = frame::segment_head(header, &payload).map_err(|source| self.too_large(source))?;
        self.pending.extend([head, payload]);
        self.flush().await
    }

    pub(super) async fn flush(&mut self) -> Result<(), LinkError> {
        while let Some(chunk) = self.pending.front_mut() {
            let written = self
                .stream
                .write_chunks(std::slice::from_mut(chunk))
                .await
                .map_err(|error| lost(&self.shared, error.into()))?;
            if chunk.is_empty() {
                self.pending.pop_front();
            }
            self.shared.counters.sent.fetch_add(written.bytes as u64, Ordering::Relaxed);
        }
        Ok(())
    }

    fn too_large(&self, source: FrameError) -> LinkError {
        LinkError::TooLarge { peer: self.shared.peer.clone(), source }
    }

    /// Closes the link after what was sent has arrived, or after a second.
    pub async fn close(mut self, code: CloseCode, reason: &str) {
        let delivered = async {
            let sent = self.flush().await.is_ok() && self.stream.finish().is_ok();
            if sent {
                drop(self.stream.stopped().await);
            }
        };
        drop(tokio::time::timeout(FAREWELL, delivered).await);
        loss::close(&self.shared.connection, code, reason);
        if let Some(endpoint) = &self.shared.endpoint {
            drop(tokio::time::timeout(FAREWELL, endpoint.wait_idle()).await);
        }
    }
}

impl ControlReceiver {
    pub fn peer(&self) -> &Peer {
        &self.shared.peer
    }

    pub fn counters(&self) -> Arc<ControlCounters> {
        self.shared.counters.clone()
    }

    /// The next frame. A frame that breaks the rules closes the link.
    ///
    /// # Cancel safety
    /// Safe: what has arrived of a frame is kept.
    pub async fn recv(&mut self) -> Result<Frame, LinkError> {
        loop {
            match self.assembler.next() {
                Ok(Some(frame)) => return Ok(frame),
                Ok(None) => {}
                Err(source) => {
                    loss::close(&self.shared.connection, CloseCode::Protocol, &source.to_string());
                    return Err(LinkError::Frame { peer: self.shared.peer.clone(), source });
                }
            }
            let chunk = self
                .stream
                .read_chunk(frame::READ_BYTES, true)
                .await
                .map_err(|error| lost(&self.shared, error.into()))?;
            let Some(chunk) = chunk else { return Err(lost(&self.shared, self.ended())) };
            self.shared.counters.received.fetch_add(chunk.bytes.len() as u64, Ordering::Relaxed);
            self.assembler.push(&chunk.bytes);
        }
    }

    fn ended(&self) -> LinkLoss {
        // The close that follows the end of the stream says why, if it is here already.
        match self.shared.connection.close_reason() {
            Some(reason) => reason.into(),
            None if self.assembler.is_empty() => LinkLoss::Ended,
            None => LinkLoss::Truncated,
        }
    }
}

fn lost(shared: &Shared, source: LinkLoss) -> LinkError {
    LinkError::Lost { peer: shared.peer.clone(), source }
}

/// How long a close may wait for the peer.
const FAREWELL: Duration = Duration::from_secs(1);
