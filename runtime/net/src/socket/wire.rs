//! An emulated link in front of a socket: holds packets until their time has come.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hcrun_protocol::Time;
use quinn::AsyncUdpSocket;
use quinn::udp::{EcnCodepoint, Transmit};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::emulation::{Emulation, Emulator};

/// Of IPv4 and UDP, which a real link carries too.
const HEADER_BYTES: usize = 28;

#[derive(Debug)]
pub(super) struct Wire {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    started: Instant,
    state: Mutex<State>,
    /// A packet is the first of all that wait.
    earlier: Notify,
}

#[derive(Debug)]
struct State {
    emulator: Emulator,
    /// By arrival, then by the order they were sent in.
    waiting: BTreeMap<(Time, u64), Packet>,
    count: u64,
}

#[derive(Debug)]
struct Packet {
    destination: std::net::SocketAddr,
    source: Option<std::net::IpAddr>,
    ecn: Option<EcnCodepoint>,
    contents: Bytes,
}

impl Wire {
    /// Needs a tokio runtime around it.
    pub(super) fn start(socket: Arc<dyn AsyncUdpSocket>, emulation: Emulation) -> Wire {
        let state = State { emulator: Emulator::new(emulation), waiting: BTreeMap::new(), count: 0 };
        let shared =
            Arc::new(Shared { started: Instant::now(), state: Mutex::new(state), earlier: Notify::new() });
        let task = tokio::spawn(deliver(shared.clone(), socket));
        Wire { shared, task }
    }

    pub(super) fn send(&self, transmit: &Transmit<'_>) {
        let now = self.shared.now();
        let mut state = self.shared.state.lock().unwrap_or_else(PoisonError::into_inner);
        let first = state.waiting.keys().next().copied();
        // A batch is as many packets on the link as it has segments.
        let segment = transmit.segment_size.unwrap_or(transmit.contents.len()).max(1);
        for contents in transmit.contents.chunks(segment) {
            for at in state.emulator.pass(now, contents.len() + HEADER_BYTES) {
                let packet = Packet {
                    destination: transmit.destination,
                    source: transmit.src_ip,
                    ecn: transmit.ecn,
                    contents: Bytes::copy_from_slice(contents),
                };
                let key = (at, state.count);
                state.count += 1;
                state.waiting.insert(key, packet);
            }
        }
        if state.waiting.keys().next().copied() != first {
            self.shared.earlier.notify_one();
        }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    fn now(&self) -> Time {
        Time(u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    /// The packets whose time has come, and when the next one's comes.
    fn due(&self) -> (Vec<Packet>, Option<Instant>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let later = state.waiting.split_off(&(Time(self.now().0 + 1), 0));
        let due = std::mem::replace(&mut state.waiting, later);
        let next = state.waiting.keys().next().map(|(at, _)| self.started + Duration::from_micros(at.0));
        (due.into_values().collect(), next)
    }
}

async fn deliver(shared: Arc<Shared>, socket: Arc<dyn AsyncUdpSocket>) {
    let mut writable = socket.clone().create_io_poller();
    loop {
        let (due, next) = shared.due();
        for packet in due {
            let transmit = Transmit {
                destination: packet.destination,
                ecn: packet.ecn,
                contents: &packet.contents,
                segment_size: None,
                src_ip: packet.source,
            };
            while socket.try_send(&transmit).is_err() {
                if poll_fn(|context| writable.as_mut().poll_writable(context)).await.is_err() {
                    return;
                }
            }
        }
        match next {
            Some(next) => tokio::select! {
                () = tokio::time::sleep_until(next.into()) => {}
                () = shared.earlier.notified() => {}
            },
            None => shared.earlier.notified().await,
        }
    }
}
