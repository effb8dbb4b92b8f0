//! A lane's socket, endpoint, runtime and thread.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use quinn::Endpoint;
use tokio::sync::{mpsc, oneshot};

use super::counters::Counters;
use super::shell::Shell;
use super::{Aborter, FormError, FormSpec, Group, form};
use crate::endpoint::{self, BindError, LinkKind};
use crate::identity::{Alpn, Identity};
use crate::loss::CloseCode;

/// A bound lane that is not part of a group yet. Callers already queue at its port.
pub struct LaneListener {
    pub(super) identity: Identity,
    pub(super) kind: LinkKind,
    address: SocketAddr,
    pub(super) start: oneshot::Sender<Work>,
    pub(super) lane: Lane,
    aborter: Aborter,
    causes: mpsc::Receiver<String>,
}

/// The lane's thread. It ends when its work does, or when none comes.
pub(super) struct Lane {
    thread: Option<JoinHandle<()>>,
}

/// What the thread does with its endpoint, once it is known.
pub(super) type Work = Box<dyn FnOnce(Endpoint) -> Pin<Box<dyn Future<Output = ()>>> + Send>;

impl LaneListener {
    /// Binds a UDP socket at `ip`, at the first free port of `ports` or at any, and starts the lane's thread.
    ///
    /// A peer that is silent for about `silence` is lost. A bit earlier, so that whoever waits `silence` for
    /// the same peer knows by then what its neighbours saw.
    pub fn bind(
        identity: &Identity,
        ip: IpAddr,
        ports: Option<[u16; 2]>,
        silence: Duration,
    ) -> Result<(LaneListener, SocketAddr), BindError> {
        let socket = endpoint::bind(ip, ports)?;
        let address = socket
            .local_addr()
            .map_err(|source| BindError::Socket { address: SocketAddr::new(ip, 0), source })?;
        let kind = LinkKind::Data { silence };
        let server = endpoint::server(identity, Alpn::Data, kind, ip)?;
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(BindError::Thread)?;
        let endpoint = {
            let _entered = runtime.enter();
            endpoint::endpoint(socket, Some(server))?
        };
        let (start, work) = oneshot::channel::<Work>();
        let thread = std::thread::Builder::new()
            .name("hcrun-lane-0".to_owned())
            .spawn(move || {
                runtime.block_on(run(endpoint, work));
                // Tasks that hold the socket end here.
                runtime.shutdown_timeout(Duration::from_secs(1));
            })
            .map_err(BindError::Thread)?;
        let lane = Lane { thread: Some(thread) };
        let (cause, causes) = mpsc::channel(1);
        let (identity, aborter) = (identity.clone(), Aborter { cause });
        Ok((LaneListener { identity, kind, address, start, lane, aborter, causes }, address))
    }

    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Ends forming, and later all rounds of the group, from any thread.
    pub fn aborter(&self) -> Aborter {
        self.aborter.clone()
    }

    /// Links this lane to all members, or says which link does not stand. Blocks until then.
    ///
    /// The end that cannot be dialled dials; of two that can be, the higher rank. Both ends check that the
    /// other's certificate is the one of the member list, and probe the link.
    pub fn form<B>(self, spec: FormSpec) -> Result<Group<B>, FormError>
    where
        B: hcrun_protocol::buffers::Buffers + Send + 'static,
    {
        let LaneListener { identity, kind, start, lane, aborter, mut causes, .. } = self;
        let counters = Arc::new(Counters::new(spec.members.len()));
        let (commands, inbox) = mpsc::unbounded_channel();
        let (formed, outcome) = std::sync::mpsc::sync_channel(1);
        let shared = counters.clone();
        let work: Work = Box::new(move |endpoint| {
            Box::pin(async move {
                let links = tokio::select! {
                    links = form::form(&endpoint, &identity, kind, &spec) => links,
                    Some(reason) = causes.recv() => Err(FormError::Aborted { reason }),
                };
                match links {
                    Err(error) => drop(formed.send(Err(error))),
                    Ok(links) => {
                        // The member list is complete: nobody else has business here.
                        endpoint.set_server_config(None);
                        let reports = links.iter().map(|link| link.report).collect();
                        if formed.send(Ok(reports)).is_ok() {
                            Shell::new(spec, links, shared).run(inbox, causes).await;
                        }
                    }
                }
            })
        });
        start.send(work).map_err(|_| FormError::LaneGone)?;
        let reports = outcome.recv().map_err(|_| FormError::LaneGone)??;
        Ok(Group { commands, aborter, counters, reports, lane })
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

impl Lane {
    pub(super) fn join(&mut self) {
        if let Some(thread) = self.thread.take() {
            // A panic of the lane has been printed and seen as [`super::RoundError::Closed`].
            drop(thread.join());
        }
    }
}
