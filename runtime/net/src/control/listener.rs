//! The coordinator's end: takes links, at most one per identity.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use quinn::{Endpoint, Incoming};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;

use super::link::{ControlLink, Shared};
use crate::endpoint::{self, BindError, GREETING_DEADLINE, LinkKind, PENDING_LIMIT};
use crate::identity::{Alpn, Identity, Peer, PeerError, PeerName};
use crate::loss::{self, CloseCode, LinkLoss};

/// Takes control links until it is closed or dropped. Live links survive a drop, not a close.
pub struct ControlListener {
    endpoint: Endpoint,
    address: SocketAddr,
    arrivals: mpsc::Receiver<Result<ControlLink, AcceptError>>,
    acceptor: JoinHandle<()>,
}

/// Why a caller was turned away. The listener goes on, except after [`AcceptError::Closed`].
#[derive(Debug, thiserror::Error)]
pub enum AcceptError {
    #[error("refused a second live link of {peer} from {address}: its first link is still up")]
    SecondLink { peer: Peer, address: SocketAddr },
    #[error("refused {peer} from {address}: only workers join")]
    NotAWorker { peer: Peer, address: SocketAddr },
    #[error("refused a caller from {address}")]
    Peer {
        address: SocketAddr,
        #[source]
        source: PeerError,
    },
    #[error("a caller from {address} failed")]
    Handshake {
        address: SocketAddr,
        #[source]
        source: LinkLoss,
    },
    #[error("a caller from {address} did not come to the point within {} s", GREETING_DEADLINE.as_secs())]
    TooSlow { address: SocketAddr },
    #[error("the control listener is closed")]
    Closed,
}

/// The identities with a live link.
#[derive(Clone, Default)]
struct Live(Arc<Mutex<BTreeSet<Peer>>>);

/// Frees the identity when its link is dropped.
pub(super) struct LiveGuard {
    live: Live,
    peer: Peer,
}

impl Live {
    fn enter(&self, peer: &Peer) -> Option<LiveGuard> {
        let entered = self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(peer.clone());
        entered.then(|| LiveGuard { live: self.clone(), peer: peer.clone() })
    }
}

impl Drop for LiveGuard {
    fn drop(&mut self) {
        self.live.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.peer);
    }
}

impl ControlListener {
    /// Listens at `address` (port 0 for any). Needs a tokio runtime around it.
    pub fn bind(identity: &Identity, address: SocketAddr) -> Result<ControlListener, BindError> {
        let socket = endpoint::bind(address.ip(), Some([address.port(); 2]))?;
        let address = socket.local_addr().map_err(|source| BindError::Socket { address, source })?;
        let server = endpoint::server(identity, Alpn::Control, LinkKind::Control, address.ip())?;
        let endpoint = endpoint::endpoint(socket, Some(server), None, None)?;
        let (arrived, arrivals) = mpsc::channel(PENDING_LIMIT);
        let acceptor = tokio::spawn(accept_all(endpoint.clone(), identity.clone(), arrived));
        Ok(ControlListener { endpoint, address, arrivals, acceptor })
    }

    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// The next link whose first bytes have come, or why a caller was turned away.
    ///
    /// # Cancel safety
    /// Safe: what has arrived waits.
    pub async fn accept(&mut self) -> Result<ControlLink, AcceptError> {
        self.arrivals.recv().await.unwrap_or(Err(AcceptError::Closed))
    }

    /// Closes all links and frees the port; waits a moment for the peers to hear of it.
    pub async fn close(self, code: CloseCode, reason: &str) {
        self.acceptor.abort();
        self.endpoint.close(code.number(), reason.as_bytes());
        drop(tokio::time::timeout(endpoint::LAST_WORDS, self.endpoint.wait_idle()).await);
    }
}

impl Drop for ControlListener {
    fn drop(&mut self) {
        self.acceptor.abort();
    }
}

async fn accept_all(
    endpoint: Endpoint,
    identity: Identity,
    arrived: mpsc::Sender<Result<ControlLink, AcceptError>>,
) {
    let pending = Arc::new(Semaphore::new(PENDING_LIMIT));
    let live = Live::default();
    while let Some(incoming) = endpoint.accept().await {
        if !incoming.remote_address_validated() {
            // Whoever cannot receive at the address it claims learns and costs nothing more.
            drop(incoming.retry());
            continue;
        }
        let Ok(permit) = pending.clone().try_acquire_owned() else {
            incoming.refuse();
            continue;
        };
        let (identity, arrived, live) = (identity.clone(), arrived.clone(), live.clone());
        tokio::spawn(async move {
            let address = incoming.remote_address();
            let greeted = tokio::time::timeout(GREETING_DEADLINE, greet(incoming, &identity, &live)).await;
            let arrival = greeted.unwrap_or(Err(AcceptError::TooSlow { address }));
            drop(arrived.send(arrival).await);
            drop(permit);
        });
    }
}

async fn greet(incoming: Incoming, identity: &Identity, live: &Live) -> Result<ControlLink, AcceptError> {
    let address = incoming.remote_address();
    let failed = |error: quinn::ConnectionError| AcceptError::Handshake { address, source: error.into() };
    let connection = incoming.accept().map_err(failed)?.await.map_err(failed)?;
    let peer = identity.peer_of(&connection).map_err(|source| AcceptError::Peer { address, source })?;
    if peer.name == PeerName::Coordinator {
        loss::close(&connection, CloseCode::Refused, "only workers join");
        return Err(AcceptError::NotAWorker { peer, address });
    }
    let Some(guard) = live.enter(&peer) else {
        loss::close(&connection, CloseCode::SecondLink, &format!("{peer} already has a live link"));
        return Err(AcceptError::SecondLink { peer, address });
    };
    let streams = connection.accept_bi().await.map_err(failed)?;
    let shared = Shared { peer, connection, counters: Arc::default(), endpoint: None, _live: Some(guard) };
    Ok(ControlLink::new(shared, streams))
}
