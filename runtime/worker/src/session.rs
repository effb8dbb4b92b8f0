//! A worker's membership in a job: joined over an authenticated control link, kept alive by a thread that
//! computes nothing, and handed to the training thread as orders.
//!
//! The thread drives protocol's [`Member`](hcrun_protocol::member::Member); it answers heartbeats, notices
//! that the coordinator is gone and ends the session, which aborts the group so that no wait of the training
//! thread outlives it.

use std::cell::Cell;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use hcrun_net::control::ConnectError;
use hcrun_net::identity::Identity;
use hcrun_protocol::control::{Build, FailureReport, ToCoordinator};
use hcrun_protocol::frame::SegmentHeader;
use hcrun_protocol::member::{Command, End};
use hcrun_protocol::{NodeId, ZoneId};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use crate::progress::Progress;

use backlog::Backlog;

mod arrival;
mod backlog;
mod driver;

pub use arrival::StateLimit;

/// Who this worker is and whom it joins.
#[derive(Debug)]
pub struct SessionSettings {
    pub identity: Identity,
    pub coordinator: std::net::SocketAddr,
    pub coordinator_zone: ZoneId,
    pub build: Build,
    pub node: NodeId,
    pub cpu_features: String,
}

/// What the training thread is told.
#[derive(Debug)]
pub enum Order {
    Command(Command),
    /// [`Command::Start`] with its state, all arenas complete.
    Start {
        step: hcrun_protocol::Step,
        state: Vec<(String, Vec<f32>)>,
    },
}

/// What the training thread sends.
enum Said {
    Message(ToCoordinator),
    Segment([u8; 64], Bytes),
}

type AbortHook = Box<dyn Fn(&str) + Send>;

/// See the module.
pub struct Session {
    identity: Identity,
    orders: Receiver<Order>,
    said: Option<UnboundedSender<Said>>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    /// Why this worker leaves has been said.
    failed: Cell<bool>,
}

/// Between the training thread and the session's own.
#[derive(Default)]
struct Shared {
    end: Mutex<Option<End>>,
    on_end: Mutex<Option<AbortHook>>,
    progress: Progress,
    state_limit: StateLimit,
    backlog: Arc<Backlog>,
}

#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    #[error("cannot reach the coordinator")]
    Connect(#[from] ConnectError),
    #[error("cannot start the thread of the control link")]
    Thread(#[source] std::io::Error),
    #[error(transparent)]
    Ended(#[from] End),
}

/// For the first answer of the coordinator, which has just answered at its other door.
const CONNECT_WITHIN: Duration = Duration::from_secs(4);

impl Session {
    /// Connects and says hello; the welcome comes as the first order.
    pub fn join(settings: SessionSettings) -> Result<Session, SessionError> {
        let (order_sender, orders) = channel();
        let (said, said_receiver) = unbounded_channel();
        let shared = Arc::new(Shared::default());
        let (connected_sender, connected) = channel();
        let their = shared.clone();
        let identity = settings.identity.clone();
        let thread = std::thread::Builder::new()
            .name("control".to_owned())
            .spawn(move || driver::run(settings, &their, order_sender, said_receiver, &connected_sender))
            .map_err(SessionError::Thread)?;
        match connected.recv() {
            Ok(Ok(())) => {
                let (said, thread, failed) = (Some(said), Some(thread), Cell::new(false));
                Ok(Session { identity, orders, said, shared, thread, failed })
            }
            Ok(Err(error)) => Err(error.into()),
            Err(_) => Err(End::CoordinatorLost { cause: "the control thread ended".to_owned() }.into()),
        }
    }

    /// The next order; an end of the session is an error.
    pub fn order(&self) -> Result<Order, End> {
        match self.orders.recv() {
            Ok(Order::Command(Command::End(end))) => Err(end),
            Ok(order) => Ok(order),
            Err(_) => Err(self.end().unwrap_or_else(lost)),
        }
    }

    /// An order if there is one now.
    pub fn try_order(&self) -> Result<Option<Order>, End> {
        match self.orders.recv_timeout(Duration::ZERO) {
            Ok(Order::Command(Command::End(end))) => Err(end),
            Ok(order) => Ok(Some(order)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err(self.end().unwrap_or_else(lost)),
        }
    }

    /// Why the session has ended, if it has.
    pub fn end(&self) -> Option<End> {
        self.shared.end.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Called on the session's thread with the cause when it ends; at once if it has ended already.
    pub fn on_end(&self, hook: impl Fn(&str) + Send + 'static) {
        let mut place = self.shared.on_end.lock().unwrap_or_else(PoisonError::into_inner);
        match self.end() {
            Some(end) => hook(&end.to_string()),
            None => *place = Some(Box::new(hook)),
        }
    }

    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    pub fn progress(&self) -> &Progress {
        &self.shared.progress
    }

    /// Bounds what a resumed state may announce; until it is set, none is accepted.
    pub fn state_limit(&self) -> &StateLimit {
        &self.shared.state_limit
    }

    pub fn say(&self, message: ToCoordinator) {
        self.send(Said::Message(message));
    }

    /// Waits where much of what was sent before is still on its way.
    pub fn send_segment(&self, header: &SegmentHeader, payload: Bytes) {
        self.shared.backlog.add(payload.len(), || self.end().is_some());
        self.send(Said::Segment(header.encode(), payload));
    }

    fn send(&self, said: Said) {
        // A session that has ended has nobody to talk to; the next order says so.
        if let Some(sender) = &self.said {
            drop(sender.send(said));
        }
    }

    /// Says why this worker leaves; the first reason stays.
    pub fn fail(&self, report: FailureReport) {
        if !self.failed.replace(true) {
            self.say(ToCoordinator::Failed(report));
        }
    }

    /// Closes the link after what was said has been sent.
    pub fn leave(mut self) {
        self.said = None;
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

fn lost() -> End {
    End::CoordinatorLost { cause: "the control link has ended".to_owned() }
}

impl Shared {
    fn finish(&self, end: &End) {
        self.end.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(|| end.clone());
        if let Some(hook) = &*self.on_end.lock().unwrap_or_else(PoisonError::into_inner) {
            hook(&end.to_string());
        }
        self.backlog.wake();
    }
}

type Orders = Sender<Order>;
