//! The loop around [`Member`]: sockets, clock and channels on one thread, no decision.

use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use hcrun_net::CloseCode;
use hcrun_net::control::{ConnectError, ControlLink, ControlReceiver, ControlSender, Frame};
use hcrun_protocol::control_codec;
use hcrun_protocol::frame::SegmentHeader;
use hcrun_protocol::member::{Command, End, Input, Member, Output};
use hcrun_protocol::{Span, Time, error_chain};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::arrival::Arrival;
use super::backlog::Backlog;
use super::{CONNECT_WITHIN, Order, Orders, Said, SessionSettings, Shared};

pub(super) fn run(
    settings: SessionSettings,
    shared: &Shared,
    orders: Orders,
    said: UnboundedReceiver<Said>,
    connected: &Sender<Result<(), ConnectError>>,
) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime without worker threads needs only an epoll descriptor");
    runtime.block_on(async {
        let (identity, zone) = (&settings.identity, &settings.coordinator_zone);
        match ControlLink::connect(identity, settings.coordinator, zone, CONNECT_WITHIN).await {
            Ok(link) => {
                drop(connected.send(Ok(())));
                Driver::new(settings, shared, orders).drive(link, said).await;
            }
            Err(error) => drop(connected.send(Err(error))),
        }
    });
}

struct Driver<'a> {
    member: Member,
    started: Instant,
    shared: &'a Shared,
    orders: Orders,
    arrival: Option<Arrival>,
    ended: bool,
    /// Ended, and nobody is there to say farewell to.
    alone: bool,
}

impl<'a> Driver<'a> {
    fn new(settings: SessionSettings, shared: &'a Shared, orders: Orders) -> Driver<'a> {
        let SessionSettings { build, node, cpu_features, .. } = settings;
        let member = Member::new(Time::ZERO, build, node, cpu_features);
        Driver { member, started: Instant::now(), shared, orders, arrival: None, ended: false, alone: false }
    }

    fn now(&self) -> Time {
        Time(u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    async fn drive(mut self, link: ControlLink, mut said: UnboundedReceiver<Said>) {
        let (sender, mut receiver) = link.split();
        // Writing has a task of its own, so that a coordinator that does not read stops no heartbeat timer.
        let (outgoing, queue) = unbounded_channel();
        let mut writer = tokio::spawn(write(sender, queue, self.shared.backlog.clone()));
        self.feed(Input::Connected, &outgoing);
        while !self.ended {
            let now = self.now();
            let wait = self.member.next_deadline().unwrap_or(now).since(now);
            // A worker of thousands of steps a second leaves the timer below no turn.
            if wait == Span(0) {
                self.tick(&outgoing);
                continue;
            }
            tokio::select! {
                frame = receiver.recv() => self.on_frame(frame, &outgoing),
                said = said.recv() => match said {
                    Some(Said::Message(message)) => self.feed(Input::Say(message), &outgoing),
                    Some(segment) => drop(outgoing.send(segment)),
                    None => break,
                },
                _ = &mut writer => self.feed(Input::Disconnected { cause: "cannot write".into() }, &outgoing),
                () = tokio::time::sleep(wait.into()) => {}
            }
        }
        drop(outgoing);
        if self.alone {
            writer.abort();
        } else {
            farewell(writer, receiver).await;
        }
    }

    fn tick(&mut self, outgoing: &UnboundedSender<Said>) {
        let (progress, activity) = self.shared.progress.sample();
        self.feed(Input::Tick { progress, activity }, outgoing);
    }

    fn on_frame<E: std::error::Error>(&mut self, frame: Result<Frame, E>, outgoing: &UnboundedSender<Said>) {
        let input = match frame {
            Ok(Frame::Message(bytes)) => match control_codec::decode(&bytes) {
                Ok(message) => Input::Message(message),
                Err(error) => Input::Broken { what: error.to_string() },
            },
            Ok(Frame::Segment { header, payload }) => match self.on_segment(&header, &payload) {
                Ok(()) => Input::StateArrived,
                Err(what) => Input::Broken { what },
            },
            Err(error) => Input::Disconnected { cause: error_chain(&error) },
        };
        self.feed(input, outgoing);
    }

    fn on_segment(&mut self, header: &[u8; 64], payload: &[u8]) -> Result<(), String> {
        let header = SegmentHeader::decode(header, MAX_SEGMENT_BYTES).map_err(|error| error.to_string())?;
        header.check_payload(payload).map_err(|error| error.to_string())?;
        let arrival = self.arrival.as_mut().ok_or("a state segment that was not announced")?;
        arrival.add(&header, payload)?;
        self.deliver_state();
        Ok(())
    }

    fn deliver_state(&mut self) {
        if let Some(arrival) = self.arrival.take_if(|arrival| arrival.is_complete()) {
            let (step, state) = arrival.into_parts();
            drop(self.orders.send(Order::Start { step, state }));
        }
    }

    fn feed(&mut self, input: Input, outgoing: &UnboundedSender<Said>) {
        let now = self.now();
        self.member.handle(now, input);
        while let Some(output) = self.member.poll_output() {
            match output {
                Output::Send(message) => drop(outgoing.send(Said::Message(message))),
                Output::Command(command) => self.on_command(command, outgoing),
            }
        }
    }

    fn on_command(&mut self, command: Command, outgoing: &UnboundedSender<Said>) {
        match command {
            Command::Start { step, state } => match Arrival::new(step, &state, &self.shared.state_limit) {
                Ok(arrival) => {
                    self.arrival = Some(arrival);
                    self.deliver_state();
                }
                Err(what) => self.feed(Input::Broken { what }, outgoing),
            },
            Command::End(end) => {
                self.ended = true;
                self.alone = matches!(end, End::CoordinatorLost { .. });
                self.shared.finish(&end);
                drop(self.orders.send(Order::Command(Command::End(end))));
            }
            command => drop(self.orders.send(Order::Command(command))),
        }
    }
}

async fn write(mut sender: ControlSender, mut queue: UnboundedReceiver<Said>, backlog: Arc<Backlog>) {
    while let Some(said) = queue.recv().await {
        let sent = match said {
            Said::Message(message) => match control_codec::encode(&message) {
                Ok(bytes) => sender.send_message(&bytes).await,
                Err(error) => {
                    tracing::error!(%error, "a control message could not be encoded");
                    continue;
                }
            },
            Said::Segment(header, payload) => {
                let bytes = payload.len();
                let sent = sender.send_segment(&header, payload).await;
                backlog.remove(bytes);
                sent
            }
        };
        if sent.is_err() {
            return;
        }
    }
    sender.close(CloseCode::Done, "the worker leaves").await;
}

/// Lets the last words go out; a coordinator that does not take them is not waited for.
async fn farewell(writer: tokio::task::JoinHandle<()>, receiver: ControlReceiver) {
    if !writer.is_finished() {
        drop(tokio::time::timeout(Duration::from(FAREWELL), writer).await);
    }
    drop(receiver);
}

/// `exchange.segment_bytes` may not be larger.
const MAX_SEGMENT_BYTES: usize = 16 << 20;

const FAREWELL: Span = Span::from_millis(1_500);
