//! The join endpoint: an own UDP socket, since it is the one that strangers may speak to.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use hcrun_protocol::control::PROTOCOL_VERSION;
use quinn::{Connection, Endpoint, Incoming};
use rustls::pki_types::CertificateDer;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;

use super::ticket::Tickets;
use super::{Answer, JoinBundle, JoinRefusal, REQUEST_BYTES, Request, TicketError, to_hex};
use crate::endpoint::{self, BindError, GREETING_DEADLINE, LinkKind, PENDING_LIMIT};
use crate::identity::{Authority, Identity, Peer, PeerName, join_server_config, public_key_of};
use crate::loss::{self, CloseCode};

/// Issues certificates against tokens until it is closed or dropped.
pub struct JoinServer {
    endpoint: Endpoint,
    address: SocketAddr,
    identity: Identity,
    desk: Arc<Desk>,
    pub(super) events: mpsc::Receiver<JoinEvent>,
    acceptor: JoinHandle<()>,
}

/// What happened at the join endpoint, for whoever waits for workers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JoinEvent {
    Issued {
        peer: Peer,
        address: SocketAddr,
    },
    /// `claimed` is what the caller said it is; nothing about it is proven.
    Refused {
        claimed: Peer,
        address: SocketAddr,
        reason: JoinRefusal,
    },
}

/// What every request needs.
struct Desk {
    tickets: Mutex<Tickets>,
    authorities: Vec<Arc<dyn Authority>>,
    control: SocketAddr,
    events: mpsc::Sender<JoinEvent>,
}

impl JoinServer {
    /// Listens at `address` (port 0 for any) as the coordinator; workers are then sent to `control`.
    ///
    /// Needs a tokio runtime around it. An endpoint that should be reached from other hosts is bound to an
    /// address they can dial, because bundles carry it.
    pub fn bind(
        identity: &Identity,
        address: SocketAddr,
        authorities: Vec<Arc<dyn Authority>>,
        control: SocketAddr,
    ) -> Result<JoinServer, BindError> {
        let socket = endpoint::bind(address.ip(), Some([address.port(); 2]))?;
        let address = socket.local_addr().map_err(|source| BindError::Socket { address, source })?;
        let server = endpoint::server_with(join_server_config(identity)?, LinkKind::Control, address.ip());
        let endpoint = endpoint::endpoint(socket, Some(server), None, None)?;
        let (sender, events) = mpsc::channel(PENDING_LIMIT);
        let desk = Arc::new(Desk { tickets: Mutex::default(), authorities, control, events: sender });
        let acceptor = tokio::spawn(accept_all(endpoint.clone(), desk.clone()));
        Ok(JoinServer { endpoint, address, identity: identity.clone(), desk, events, acceptor })
    }

    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// A bundle for one slot, good for `lifetime`. A new one makes the slot's earlier one void.
    pub fn ticket(&self, peer: Peer, lifetime: Duration) -> Result<JoinBundle, TicketError> {
        if !self.desk.authorities.iter().any(|authority| *authority.zone() == peer.zone) {
            return Err(TicketError::Zone(peer.zone));
        }
        let PeerName::Slot(slot) = peer.name.clone() else { return Err(TicketError::NotAWorker(peer)) };
        let zone = peer.zone.clone();
        let token = self.desk.tickets().issue(peer, lifetime, Instant::now())?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(JoinBundle {
            protocol: PROTOCOL_VERSION,
            job: self.identity.job,
            slot,
            zone,
            join_address: self.address,
            coordinator_zone: self.identity.me.zone.clone(),
            roots: self.identity.roots.pem().clone(),
            token,
            expires: (now + lifetime).as_secs(),
        })
    }

    /// The next event; none after the end.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn event(&mut self) -> Option<JoinEvent> {
        self.events.recv().await
    }

    /// Stops taking requests and frees the port.
    pub async fn close(self) {
        self.acceptor.abort();
        self.endpoint.close(CloseCode::Done.number(), b"joining is over");
        drop(tokio::time::timeout(endpoint::LAST_WORDS, self.endpoint.wait_idle()).await);
    }
}

impl Drop for JoinServer {
    fn drop(&mut self) {
        self.acceptor.abort();
        self.endpoint.close(CloseCode::Done.number(), b"joining is over");
    }
}

async fn accept_all(endpoint: Endpoint, desk: Arc<Desk>) {
    let pending = Arc::new(Semaphore::new(PENDING_LIMIT));
    while let Some(incoming) = endpoint.accept().await {
        if !incoming.remote_address_validated() {
            drop(incoming.retry());
            continue;
        }
        let Ok(permit) = pending.clone().try_acquire_owned() else {
            incoming.refuse();
            continue;
        };
        let desk = desk.clone();
        tokio::spawn(async move {
            let address = incoming.remote_address();
            let served = tokio::time::timeout(GREETING_DEADLINE, desk.serve(incoming)).await;
            if !matches!(served, Ok(Some(()))) {
                tracing::debug!(%address, "a caller at the join endpoint did not ask for anything");
            }
            drop(permit);
        });
    }
}

impl Desk {
    fn tickets(&self) -> std::sync::MutexGuard<'_, Tickets> {
        self.tickets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// None if the caller failed before it asked, or left before it was answered.
    async fn serve(&self, incoming: Incoming) -> Option<()> {
        let connection = incoming.accept().ok()?.await.ok()?;
        let (mut sending, mut receiving) = connection.accept_bi().await.ok()?;
        let request = receiving.read_to_end(REQUEST_BYTES).await.ok()?;
        let Ok(request) = serde_json::from_slice::<Request>(&request) else {
            loss::close(&connection, CloseCode::Protocol, "the join request is malformed");
            return None;
        };
        let answer = self.answer(&connection, request);
        let answer = serde_json::to_vec(&answer).ok()?;
        sending.write_all(&answer).await.ok()?;
        sending.finish().ok()?;
        // The caller closes once it has read the answer.
        connection.closed().await;
        Some(())
    }

    fn answer(&self, connection: &Connection, request: Request) -> Answer {
        let address = connection.remote_address();
        let peer = Peer::slot(request.slot.clone(), request.zone.clone());
        let (event, answer) = match self.issue(connection, &peer, &request) {
            Ok(chain) => {
                (JoinEvent::Issued { peer, address }, Answer::Issued { chain, control: self.control })
            }
            Err(reason) => (
                JoinEvent::Refused { claimed: peer, address, reason: reason.clone() },
                Answer::Refused(reason),
            ),
        };
        // A flood of refusals must not wait for whoever reads the events.
        if self.events.try_send(event).is_err() {
            tracing::warn!(%address, "a join event was dropped: nobody reads them");
        }
        answer
    }

    fn issue(
        &self,
        connection: &Connection,
        peer: &Peer,
        request: &Request,
    ) -> Result<Vec<String>, JoinRefusal> {
        if request.protocol != PROTOCOL_VERSION {
            return Err(JoinRefusal::Protocol { launcher: PROTOCOL_VERSION, worker: request.protocol });
        }
        let key = peer_key(connection).ok_or(JoinRefusal::Failed)?;
        let authority = self.authorities.iter().find(|authority| *authority.zone() == peer.zone);
        let authority = authority.ok_or(JoinRefusal::UnknownToken)?;
        self.tickets().redeem(peer, &request.token, Instant::now())?;
        let chain = authority.issue(&peer.name, &key).map_err(|error| {
            tracing::warn!(%peer, %error, "no certificate could be issued");
            JoinRefusal::Failed
        })?;
        Ok(chain.0.iter().map(|certificate| to_hex(certificate)).collect())
    }
}

/// The key that the caller has shown to hold.
fn peer_key(connection: &Connection) -> Option<Vec<u8>> {
    let chain = connection.peer_identity()?.downcast::<Vec<CertificateDer<'static>>>().ok()?;
    Some(public_key_of(chain.first()?).ok()?.as_ref().to_vec())
}
