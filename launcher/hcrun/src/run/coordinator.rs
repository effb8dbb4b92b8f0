//! The loop around protocol's `Coordinator`: links, processes, signals, disk and clock; no decision.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hcrun_net::CloseCode;
use hcrun_net::control::{AcceptError, ControlLink, ControlListener, ControlReceiver, ControlSender, Frame};
use hcrun_net::identity::PeerName;
use hcrun_net::join::{JoinEvent, JoinServer};
use hcrun_protocol::control::ToWorker;
use hcrun_protocol::coordinator::{Coordinator, Event, Exit, Input, Outcome, Output, Settings};
use hcrun_protocol::frame::SegmentHeader;
use hcrun_protocol::{SlotId, Step, Time, control_codec};
use tokio::sync::mpsc::{Sender, UnboundedReceiver, UnboundedSender, channel, unbounded_channel};

mod members;

use self::members::Members;
use super::local::LocalBackend;
use super::state::Assembly;
use super::stop::StopRequest;

/// Everything the loop needs from outside.
pub(super) struct Control<'a> {
    /// Before the first process was: if the launcher stands still from then on, its workers know it first.
    pub(super) started: Instant,
    pub(super) settings: Settings,
    pub(super) listener: ControlListener,
    pub(super) join: JoinServer,
    pub(super) backend: LocalBackend,
    pub(super) exits: UnboundedReceiver<(SlotId, Exit)>,
    pub(super) stops: UnboundedReceiver<StopRequest>,
    /// Frames of the state that the run goes on from.
    pub(super) resumed: Vec<([u8; 64], Bytes)>,
    pub(super) assembly: Assembly,
    /// Writes a checkpoint; runs on a thread of its own.
    pub(super) store: Arc<StoreFn>,
    pub(super) observer: &'a mut dyn Observer,
}

pub(super) type StoreFn = dyn Fn(Step, Vec<Vec<f32>>) -> Result<(), String> + Send + Sync;

/// Who watches a run: its log, its metrics and the person in front of it.
pub(super) trait Observer {
    fn on_event(&mut self, event: &Event);
    fn on_join_event(&mut self, event: &JoinEvent);
    /// Something odd that does not end the run: a stranger at the door.
    fn on_note(&mut self, text: &str);
    /// Frame bytes of state that a worker sent, or was sent.
    fn on_state(&mut self, slot: &SlotId, way: Way, bytes: u64);
}

/// Which way state goes on a control link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    FromWorker,
    ToWorker,
}

enum FromLink {
    Frame(Frame),
    Lost(String),
}

enum ToLink {
    Message(ToWorker),
    Segment([u8; 64], Bytes),
}

struct Driver<'a> {
    machine: Coordinator,
    members: Members,
    started: Instant,
    links: BTreeMap<SlotId, UnboundedSender<ToLink>>,
    writers: Vec<tokio::task::JoinHandle<()>>,
    arrivals: Sender<(SlotId, FromLink)>,
    stored: UnboundedSender<(Step, Result<(), String>)>,
    resumed: Vec<([u8; 64], Bytes)>,
    assembly: Assembly,
    store: Arc<StoreFn>,
    observer: &'a mut dyn Observer,
    strangers: usize,
    outcome: Option<Outcome>,
}

/// Frames read ahead per run; a coordinator that is behind stops reading, and QUIC stops the worker.
const READ_AHEAD: usize = 256;

const MAX_STRANGERS: usize = 100;

/// Drives the job to its end. All links are closed and all processes gone when this returns.
pub(super) async fn drive(control: Control<'_>) -> Outcome {
    let Control {
        started,
        settings,
        mut listener,
        mut join,
        backend,
        mut exits,
        mut stops,
        resumed,
        assembly,
        store,
        observer,
    } = control;
    let (arrivals, mut arrived) = channel(READ_AHEAD);
    let (stored, mut done) = unbounded_channel();
    let mut driver = Driver {
        members: Members::of(&settings),
        machine: Coordinator::new(Time::ZERO, settings),
        started,
        links: BTreeMap::new(),
        writers: Vec::new(),
        arrivals,
        stored,
        resumed,
        assembly,
        store,
        observer,
        strangers: 0,
        outcome: None,
    };
    let mut stop_requests = 0;
    let (mut accepting, mut joining) = (true, true);
    let outcome = loop {
        if let Some(outcome) = driver.outcome.take() {
            break outcome;
        }
        let wait = driver.wait();
        tokio::select! {
            link = listener.accept(), if accepting => match link {
                Ok(link) => driver.on_link(link),
                Err(error) => {
                    accepting = !matches!(error, AcceptError::Closed);
                    driver.on_stranger(|observer| observer.on_note(&super::chain(&error)));
                }
            },
            event = join.event(), if joining => match event {
                Some(event @ JoinEvent::Refused { .. }) => {
                    driver.on_stranger(|observer| observer.on_join_event(&event));
                }
                Some(event) => driver.observer.on_join_event(&event),
                None => joining = false,
            },
            Some((slot, arrival)) = arrived.recv() => driver.on_arrival(slot, arrival),
            Some((slot, exit)) = exits.recv() => driver.feed(Input::ProcessExited { slot, exit }),
            Some((step, result)) = done.recv() => driver.on_stored(step, result),
            Some(StopRequest) = stops.recv() => {
                stop_requests += 1;
                driver.feed(if stop_requests == 1 { Input::Stop } else { Input::Kill });
            }
            () = tokio::time::sleep(wait) => driver.feed(Input::Tick),
        }
    };
    // At the same time: a process that stands still takes no farewell.
    tokio::join!(driver.close(listener, join), backend.stop(grace(&outcome)));
    outcome
}

impl Driver<'_> {
    fn now(&self) -> Time {
        Time(u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    fn wait(&self) -> Duration {
        let now = self.now();
        Duration::from(self.machine.next_deadline().unwrap_or(now).since(now))
    }

    fn on_link(&mut self, link: ControlLink) {
        let PeerName::Slot(slot) = link.peer().name.clone() else {
            let text = format!("refused {}: only workers join", link.peer());
            return self.on_stranger(|observer| observer.on_note(&text));
        };
        if self.links.contains_key(&slot) {
            // What is said to a slot must go on reaching the one that had it first.
            let text = format!("refused {}: another worker has had this slot's link", link.peer());
            tokio::spawn(link.close(CloseCode::SecondLink, "another worker has had this slot's link"));
            return self.on_stranger(|observer| observer.on_note(&text));
        }
        let zone = link.peer().zone.clone();
        let (sender, receiver) = link.split();
        let (outgoing, queue) = unbounded_channel();
        self.links.insert(slot.clone(), outgoing);
        self.feed(Input::Connected { slot: slot.clone(), zone });
        if self.links.contains_key(&slot) {
            self.writers.push(tokio::spawn(write(sender, queue)));
            tokio::spawn(read(slot, receiver, self.arrivals.clone()));
        } else {
            // Refused: it is told so, and nothing it says is taken for the slot's word.
            self.writers.push(tokio::spawn(async move {
                write(sender, queue).await;
                drop(receiver);
            }));
        }
    }

    /// Whoever knocks without being let in is told of a few times, and cannot fill the log.
    fn on_stranger(&mut self, tell: impl FnOnce(&mut dyn Observer)) {
        self.strangers += 1;
        match self.strangers.cmp(&MAX_STRANGERS) {
            Ordering::Less => tell(self.observer),
            Ordering::Equal => {
                self.observer.on_note("more callers are refused; they are not listed any more")
            }
            Ordering::Greater => {}
        }
    }

    fn on_arrival(&mut self, slot: SlotId, arrival: FromLink) {
        let input = match arrival {
            FromLink::Frame(Frame::Message(bytes)) => match control_codec::decode(&bytes) {
                Ok(message) => Input::Message { slot, message },
                Err(error) => Input::Broken { slot, what: super::chain(&error) },
            },
            FromLink::Frame(Frame::Segment { header, payload }) => {
                match self.on_segment(&slot, &header, &payload) {
                    Ok(()) => Input::StateArrived { slot },
                    Err(what) => Input::Broken { slot, what },
                }
            }
            FromLink::Lost(cause) => Input::Disconnected { slot, cause },
        };
        self.feed(input);
    }

    fn on_segment(&mut self, slot: &SlotId, header: &[u8; 64], payload: &[u8]) -> Result<(), String> {
        self.observer.on_state(slot, Way::FromWorker, (header.len() + payload.len()) as u64);
        let header = SegmentHeader::decode(header, payload.len()).map_err(|error| error.to_string())?;
        self.members.check_origin(slot, &header)?;
        self.assembly.add(&header, payload)
    }

    fn on_stored(&mut self, step: Step, result: Result<(), String>) {
        self.feed(match result {
            Ok(()) => Input::Stored { step },
            Err(cause) => Input::StoreFailed { step, cause },
        });
    }

    fn feed(&mut self, input: Input) {
        let now = self.now();
        self.machine.handle(now, input);
        while let Some(output) = self.machine.poll_output() {
            match output {
                Output::Send { slot, message } => {
                    let refusal = matches!(message, ToWorker::Refused { .. });
                    self.send(&slot, ToLink::Message(message));
                    if refusal {
                        // Without a queue the writer sends what it has and closes; the slot is free again.
                        self.links.remove(&slot);
                    }
                }
                Output::SendState { slot } => self.send_state(&slot),
                Output::Store { step } => self.store(step),
                Output::Discard { step } => drop(self.assembly.take(step)),
                Output::Event(event) => self.observer.on_event(&event),
                Output::End(outcome) => self.outcome = Some(outcome),
            }
        }
    }

    fn send(&self, slot: &SlotId, message: ToLink) {
        // A link that is gone has been reported; what was meant for it has no reader.
        if let Some(link) = self.links.get(slot) {
            drop(link.send(message));
        }
    }

    fn send_state(&mut self, slot: &SlotId) {
        for (header, payload) in &self.resumed {
            self.observer.on_state(slot, Way::ToWorker, (header.len() + payload.len()) as u64);
            self.send(slot, ToLink::Segment(*header, payload.clone()));
        }
    }

    fn store(&mut self, step: Step) {
        let Some(arenas) = self.assembly.take(step) else {
            let cause = "its parts were announced and did not arrive".to_owned();
            return drop(self.stored.send((step, Err(cause))));
        };
        let (store, stored) = (self.store.clone(), self.stored.clone());
        tokio::task::spawn_blocking(move || drop(stored.send((step, store(step, arenas)))));
    }

    async fn close(mut self, listener: ControlListener, join: JoinServer) {
        // Without a queue the writers send what they have and close their links.
        self.links.clear();
        let all = async {
            for writer in self.writers.drain(..) {
                drop(writer.await);
            }
        };
        drop(tokio::time::timeout(FAREWELL, all).await);
        tokio::join!(join.close(), listener.close(CloseCode::Done, "the run has ended"));
    }
}

/// Workers that were told to leave do so at once; those that cannot hear it are not waited for.
fn grace(outcome: &Outcome) -> Duration {
    match outcome {
        Outcome::Done { .. } | Outcome::Stopped { .. } => Duration::from_secs(1),
        Outcome::Failed(_) => FAREWELL,
        Outcome::Killed => Duration::ZERO,
    }
}

/// A worker that takes its last message takes it at once.
const FAREWELL: Duration = Duration::from_millis(300);

async fn write(mut sender: ControlSender, mut queue: UnboundedReceiver<ToLink>) {
    while let Some(message) = queue.recv().await {
        let sent = match message {
            ToLink::Message(message) => match control_codec::encode(&message) {
                Ok(bytes) => sender.send_message(&bytes).await,
                Err(error) => {
                    tracing::error!(%error, "a control message could not be encoded");
                    continue;
                }
            },
            ToLink::Segment(header, payload) => sender.send_segment(&header, payload).await,
        };
        if sent.is_err() {
            return;
        }
    }
    sender.close(CloseCode::Done, "the run has ended").await;
}

async fn read(slot: SlotId, mut receiver: ControlReceiver, arrivals: Sender<(SlotId, FromLink)>) {
    loop {
        let (arrival, last) = match receiver.recv().await {
            Ok(frame) => (FromLink::Frame(frame), false),
            Err(error) => (FromLink::Lost(super::chain(&error)), true),
        };
        if arrivals.send((slot.clone(), arrival)).await.is_err() || last {
            return;
        }
    }
}
