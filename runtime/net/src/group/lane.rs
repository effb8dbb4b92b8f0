//! The lanes of a worker: for each a socket, an endpoint, a runtime and a thread.
//!
//! Lane 0's thread also runs the shell around rounds; the others only move bytes to and from it. One thread
//! does the cryptography of all connections of its lane, so more lanes use more cores.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use hcrun_protocol::link::{LinkSpec, MAX_LANES};
use quinn::Endpoint;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

use super::counters::Counters;
use super::form::Link;
use super::link::{self, Hub, Port};
use super::shell::{self, Shell};
use super::{Aborter, FormError, FormSpec, Group, form};
use crate::endpoint::{self, BindError, LinkKind};
use crate::identity::{Alpn, Identity};
use crate::loss::CloseCode;
use crate::socket::{self, Emulation};

/// How a worker's lanes are bound.
#[derive(Debug, Clone)]
pub struct LaneSettings {
    /// Between 1 and [`MAX_LANES`]; equal on all members.
    pub lanes: usize,
    /// A peer that is silent for about so long is lost. A bit earlier, so that whoever waits so long for the
    /// same peer knows by then what its neighbours saw.
    pub silence: Duration,
    pub link: LinkSpec,
    /// For tests and rehearsals: what everything that is sent passes through.
    pub emulation: Option<Emulation>,
}

impl Default for LaneSettings {
    /// One lane, links of unknown rate, ten seconds.
    fn default() -> LaneSettings {
        let silence = Duration::from_secs(10);
        LaneSettings { lanes: 1, silence, link: LinkSpec::default(), emulation: None }
    }
}

/// Bound lanes that are not part of a group yet. Callers already queue at their ports.
pub struct LaneListener {
    pub(super) identity: Identity,
    pub(super) kind: LinkKind,
    addresses: Vec<SocketAddr>,
    pub(super) starts: Vec<oneshot::Sender<Work>>,
    pub(super) threads: Vec<LaneThread>,
    aborter: Aborter,
    /// What the kernel granted each lane's socket.
    receive_bytes: usize,
}

/// A lane's thread. It ends when its work does, or when none comes.
pub(super) struct LaneThread {
    thread: Option<JoinHandle<()>>,
}

/// What the thread does with its endpoint, once it is known.
pub(super) type Work = Box<dyn FnOnce(Endpoint) -> Pin<Box<dyn Future<Output = ()>>> + Send>;

/// What a lane hands to the shell when all its links stand.
type Formed = Result<(usize, Vec<Port>), FormError>;

impl LaneListener {
    /// Binds a UDP socket per lane at `ip`, at free ports of `ports` or at any, and starts their threads.
    ///
    /// # Errors
    /// If no port is free, the address is not one of this host, or the identity is of no use for TLS.
    pub fn bind(
        identity: &Identity,
        ip: IpAddr,
        ports: Option<[u16; 2]>,
        settings: &LaneSettings,
    ) -> Result<LaneListener, BindError> {
        let lanes = settings.lanes.clamp(1, MAX_LANES);
        let mut listener = LaneListener::empty(identity, lanes, settings);
        for lane in 0..lanes {
            listener.add(lane, ip, ports, settings)?;
        }
        Ok(listener)
    }

    /// As [`Self::bind`], at the very addresses of earlier lanes: for forming a group anew. The earlier group
    /// has to be closed or dropped before.
    ///
    /// # Errors
    /// As [`Self::bind`]; [`BindError::PortsInUse`] while the earlier lanes still hold their ports.
    pub fn bind_at(
        identity: &Identity,
        addresses: &[SocketAddr],
        settings: &LaneSettings,
    ) -> Result<LaneListener, BindError> {
        let mut listener = LaneListener::empty(identity, addresses.len(), settings);
        for (lane, address) in addresses.iter().enumerate() {
            listener.add(lane, address.ip(), Some([address.port(); 2]), settings)?;
        }
        Ok(listener)
    }

    pub(super) fn empty(identity: &Identity, lanes: usize, settings: &LaneSettings) -> LaneListener {
        let kind = LinkKind::Data { silence: settings.silence, link: settings.link, lanes };
        let (cause, _) = watch::channel(None);
        let aborter = Aborter { cause: Arc::new(cause) };
        let identity = identity.clone();
        let (addresses, starts, threads) = (Vec::new(), Vec::new(), Vec::new());
        LaneListener { identity, kind, addresses, starts, threads, aborter, receive_bytes: 0 }
    }

    pub(super) fn add(
        &mut self,
        lane: usize,
        ip: IpAddr,
        ports: Option<[u16; 2]>,
        settings: &LaneSettings,
    ) -> Result<(), BindError> {
        let socket = endpoint::bind(ip, ports)?;
        let failed = |source| BindError::Socket { address: SocketAddr::new(ip, 0), source };
        let address = socket.local_addr().map_err(failed)?;
        let usual = endpoint::usual_data_mtu(&socket, ip).map_err(failed)?;
        self.receive_bytes = socket::granted(&socket).map_err(failed)?.receive_bytes;
        if let LinkKind::Data { link, .. } = &mut self.kind {
            link.mtu.get_or_insert(usual);
        }
        let mtu = self.kind.mtu();
        let server = endpoint::server(&self.identity, Alpn::Data, self.kind, ip)?;
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(BindError::Thread)?;
        let endpoint = {
            let _entered = runtime.enter();
            endpoint::endpoint(socket, Some(server), mtu, settings.emulation.as_ref())?
        };
        let (start, work) = oneshot::channel::<Work>();
        let thread = std::thread::Builder::new()
            .name(format!("hcrun-lane-{lane}"))
            .spawn(move || {
                runtime.block_on(run(endpoint, work));
                // Tasks that hold the socket end here.
                runtime.shutdown_timeout(Duration::from_secs(1));
            })
            .map_err(BindError::Thread)?;
        self.addresses.push(address);
        self.starts.push(start);
        self.threads.push(LaneThread { thread: Some(thread) });
        Ok(())
    }

    /// Where the lanes listen, in their order.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Ends forming, and later all rounds of the group, from any thread.
    pub fn aborter(&self) -> Aborter {
        self.aborter.clone()
    }

    /// Links all lanes to all members, or says which link does not stand. Blocks until then.
    ///
    /// The end that cannot be dialled dials; of two that can be, the higher rank. Both ends check that the
    /// other's certificate is the one of the member list, and probe the link, which takes about ten round trips.
    ///
    /// # Errors
    /// Names the links that do not stand by the deadline of `spec`, and who was turned away; a member list
    /// that is none fails at once. The lanes are closed: bind them again before the next attempt.
    pub fn form<B>(self, spec: FormSpec) -> Result<Group<B>, FormError>
    where
        B: hcrun_protocol::buffers::Buffers + Send + 'static,
    {
        let LaneListener { identity, kind, starts, threads, aborter, receive_bytes, .. } = self;
        let counters = Arc::new(Counters::new(spec.members.len()));
        let silence = kind.idle();
        let (hub, inbox) = link::hub();
        let (commands, orders) = mpsc::unbounded_channel();
        let (formed, mut parts) = mpsc::unbounded_channel::<Formed>();
        let (reply, outcome) = std::sync::mpsc::sync_channel(1);
        let lanes = starts.len();
        let mut first = Some((inbox, orders, reply));
        for (lane, start) in starts.into_iter().enumerate() {
            let part = Part {
                identity: identity.clone(),
                kind,
                lane,
                receive_bytes,
                spec: spec.clone(),
                hub: hub.clone(),
                counters: counters.clone(),
                formed: formed.clone(),
                causes: aborter.cause.subscribe(),
            };
            let work: Work = match first.take() {
                None => Box::new(move |endpoint| {
                    Box::pin(async move {
                        let mut tasks = part.form(&endpoint).await;
                        while tasks.join_next().await.is_some() {}
                    })
                }),
                Some((inbox, orders, reply)) => {
                    let mut parts = std::mem::replace(&mut parts, mpsc::unbounded_channel().1);
                    let (aborter, causes) = (aborter.clone(), aborter.cause.subscribe());
                    let (spec, counters) = (spec.clone(), counters.clone());
                    Box::new(move |endpoint| {
                        Box::pin(async move {
                            let _tasks = part.form(&endpoint).await;
                            match gather(&mut parts, lanes).await {
                                Err(error) => {
                                    aborter.abort("another lane could not be formed");
                                    drop(reply.send(Err(error)));
                                }
                                Ok(ports) => {
                                    let reports =
                                        ports.iter().filter(|p| p.lane == 0).map(|p| p.report).collect();
                                    if reply.send(Ok(reports)).is_ok() {
                                        let channels = shell::Channels { inbox, orders, causes };
                                        Shell::new(spec, silence, ports, counters).run(channels).await;
                                    }
                                }
                            }
                        })
                    })
                }
            };
            start.send(work).map_err(|_| FormError::LaneGone)?;
        }
        drop((formed, hub));
        let reports = outcome.recv().map_err(|_| FormError::LaneGone)??;
        Ok(Group { commands, aborter, counters, reports, spec, threads })
    }
}

/// One lane's share of forming a group.
struct Part {
    identity: Identity,
    kind: LinkKind,
    lane: usize,
    receive_bytes: usize,
    spec: FormSpec,
    hub: Hub,
    counters: Arc<Counters>,
    formed: mpsc::UnboundedSender<Formed>,
    causes: watch::Receiver<Option<String>>,
}

impl Part {
    /// Forms the lane's links and starts their tasks.
    async fn form(mut self, endpoint: &Endpoint) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        let links = tokio::select! {
            links = form::form(endpoint, &self.identity, self.kind, self.lane, &self.spec) => links,
            reason = cause(&mut self.causes) => Err(FormError::Aborted { reason }),
        };
        let formed = links.map(|links| {
            // The member list is complete: nobody else has business here.
            endpoint.set_server_config(None);
            (self.lane, links.into_iter().map(|link| self.open(link, &mut tasks)).collect())
        });
        drop(self.formed.send(formed));
        tasks
    }

    fn open(&self, link: Link, tasks: &mut JoinSet<()>) -> Port {
        let (ip, links) = (link.connection.remote_address().ip(), self.spec.members.len() - 1);
        if let Some(window) = endpoint::link_window(self.kind, ip, links, self.receive_bytes) {
            link.connection.set_send_window(window);
        }
        link::open(link, self.lane, &self.spec, &self.counters, &self.hub, tasks)
    }
}

/// All lanes' ports, or the first lane's error.
async fn gather(parts: &mut mpsc::UnboundedReceiver<Formed>, lanes: usize) -> Result<Vec<Port>, FormError> {
    let mut ports = Vec::new();
    for _ in 0..lanes {
        let (_, more) = parts.recv().await.unwrap_or(Err(FormError::LaneGone))?;
        ports.extend(more);
    }
    Ok(ports)
}

/// Why the group is to end, once it is.
pub(super) async fn cause(causes: &mut watch::Receiver<Option<String>>) -> String {
    match causes.wait_for(Option::is_some).await {
        Ok(cause) => cause.clone().unwrap_or_default(),
        // Nobody is left who could abort.
        Err(_) => std::future::pending().await,
    }
}

async fn run(endpoint: Endpoint, work: oneshot::Receiver<Work>) {
    if let Ok(work) = work.await {
        work(endpoint.clone()).await;
    }
    endpoint.close(CloseCode::Done.number(), b"the lane is closed");
    drop(tokio::time::timeout(FAREWELL, endpoint.wait_idle()).await);
}

/// How long a close may wait for the peers to hear of it.
const FAREWELL: Duration = Duration::from_secs(1);

impl LaneThread {
    pub(super) fn join(&mut self) {
        if let Some(thread) = self.thread.take() {
            // A panic of the lane has been printed and seen as [`super::RoundError::Closed`].
            drop(thread.join());
        }
    }
}
