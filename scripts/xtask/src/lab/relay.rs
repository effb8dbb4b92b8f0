//! Carries packets between the hosts' interfaces: one thread around a [`Star`].
//!
//! It ends with the process, and with it the interfaces, whatever ends the process.

use std::io::PipeWriter;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::time::ClockId;

use super::address;
use super::priority;
use super::star::{Counters, Host, Star};

pub(super) type Packet = Box<[u8]>;

pub(super) struct Relay {
    /// Closed to stop the thread.
    stop: Option<PipeWriter>,
    thread: Option<JoinHandle<anyhow::Result<Vec<Counters>>>>,
    cpu_nanos: Arc<AtomicU64>,
}

impl Relay {
    /// `interfaces` are those of the hosts, in order.
    pub(super) fn start(interfaces: Vec<OwnedFd>, star: Star<Packet>) -> anyhow::Result<Relay> {
        let (stopped, stop) = std::io::pipe()?;
        let cpu_nanos = Arc::new(AtomicU64::new(0));
        let mut relaying = Relaying {
            interfaces,
            star,
            start: Instant::now(),
            cpu_nanos: cpu_nanos.clone(),
            buffer: vec![0; usize::from(u16::MAX)],
        };
        let run = move || {
            priority::raise();
            relaying.run(&stopped.into()).map(|()| relaying.star.counters())
        };
        let thread = std::thread::Builder::new().name("relay".to_owned()).spawn(run)?;
        Ok(Relay { stop: Some(stop), thread: Some(thread), cpu_nanos })
    }

    /// What its thread has used so far.
    pub(super) fn cpu_time(&self) -> Duration {
        Duration::from_nanos(self.cpu_nanos.load(Ordering::Relaxed))
    }

    /// # Errors
    ///
    /// What ended it before.
    pub(super) fn stop(&mut self) -> anyhow::Result<Vec<Counters>> {
        self.stop = None;
        let thread = self.thread.take().context("the relay was stopped before")?;
        thread.join().map_err(|_| anyhow!("the relay panicked"))?.context("the relay failed")
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        // Who wants to know how it ended has stopped it before.
        let _ = self.stop();
    }
}

struct Relaying {
    interfaces: Vec<OwnedFd>,
    star: Star<Packet>,
    start: Instant,
    cpu_nanos: Arc<AtomicU64>,
    buffer: Vec<u8>,
}

impl Relaying {
    fn run(&mut self, stopped: &OwnedFd) -> anyhow::Result<()> {
        loop {
            self.deliver();
            self.publish_cpu_time();
            let Some(ready) = self.wait(stopped)? else { return Ok(()) };
            for host in ready {
                self.collect(host).with_context(|| format!("cannot read packets of host {}", host.0 + 1))?;
            }
        }
    }

    /// Hands over what is due.
    fn deliver(&mut self) {
        while let Some((host, packet)) = self.star.poll(self.start.elapsed()) {
            // Refused where the interface is down: then this packet is lost, as on a real host.
            let _ = rustix::io::write(&self.interfaces[host.0], &packet);
        }
    }

    /// The hosts that have sent. None once the relay shall stop.
    fn wait(&self, stopped: &OwnedFd) -> anyhow::Result<Option<Vec<Host>>> {
        let fds = self.interfaces.iter().chain([stopped]);
        let mut fds: Vec<PollFd<'_>> =
            fds.map(|fd| PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::IN)).collect();
        let timeout = self.star.next_event().map(|at| at.saturating_sub(self.start.elapsed()));
        let timeout =
            timeout.map(Timespec::try_from).transpose().context("the next packet is too far away")?;
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => (),
            Err(error) => return Err(error).context("cannot wait for packets"),
        }
        let is_ready = |index: &usize| !fds[*index].revents().is_empty();
        if is_ready(&self.interfaces.len()) {
            return Ok(None);
        }
        Ok(Some((0..self.interfaces.len()).filter(is_ready).map(Host).collect()))
    }

    fn collect(&mut self, host: Host) -> rustix::io::Result<()> {
        for _ in 0..READ_BATCH {
            let bytes = match rustix::io::read(&self.interfaces[host.0], &mut self.buffer[..]) {
                Ok(bytes) => bytes,
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error),
            };
            let packet = &self.buffer[..bytes];
            let to = address::destination(packet, self.interfaces.len()).filter(|to| *to != host);
            // The time after the read: a packet never travels for less than its delay.
            self.star.send(self.start.elapsed(), host, to, packet.into());
        }
        Ok(())
    }

    fn publish_cpu_time(&self) {
        let time = rustix::time::clock_gettime(ClockId::ThreadCPUTime);
        let time = Duration::try_from(time).unwrap_or_default();
        self.cpu_nanos.store(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

/// Packets of one host in a row: what is due for others waits for them, some 100 microseconds.
const READ_BATCH: usize = 64;
