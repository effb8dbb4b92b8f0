//! What one can see from the hosts: round trips and goodput, by sockets that were opened on them.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::net::sockopt::set_socket_recv_buffer_size_force;

use super::units::BitsPerSec;

/// Sends one datagram after the other there and back, and returns how long each took that came back within `patience`.
pub(super) fn round_trips(
    near: &UdpSocket,
    far: &UdpSocket,
    count: u32,
    patience: Duration,
) -> io::Result<Vec<Duration>> {
    near.connect(far.local_addr()?)?;
    near.set_read_timeout(Some(patience))?;
    far.set_read_timeout(Some(POLL))?;
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let echo = scope.spawn(|| echo(far, &done));
        let trips = (0..count).filter_map(|number| round_trip(near, number).transpose()).collect();
        done.store(true, Ordering::Relaxed);
        echo.join().expect("the echo does not panic")?;
        trips
    })
}

fn round_trip(near: &UdpSocket, number: u32) -> io::Result<Option<Duration>> {
    let start = Instant::now();
    near.send(&number.to_le_bytes())?;
    let mut reply = [0; 4];
    while let Some(bytes) = unless_timeout(near.recv(&mut reply))? {
        // The reply to an earlier one may be late.
        if reply[..bytes] == number.to_le_bytes() {
            return Ok(Some(start.elapsed()));
        }
    }
    Ok(None)
}

fn echo(far: &UdpSocket, done: &AtomicBool) -> io::Result<()> {
    let mut buffer = [0; 4];
    while !done.load(Ordering::Relaxed) {
        if let Some((bytes, from)) = unless_timeout(far.recv_from(&mut buffer))? {
            far.send_to(&buffer[..bytes], from)?;
        }
    }
    Ok(())
}

/// Bits per second of UDP payload that arrive at `to` while `from` offers `rate` for that long. `patience` is how long
/// the last datagram may be on its way.
pub(super) fn udp_goodput(
    [from, to]: [&UdpSocket; 2],
    payload_bytes: usize,
    rate: BitsPerSec,
    length: Duration,
    patience: Duration,
) -> io::Result<f64> {
    from.connect(to.local_addr()?)?;
    to.set_read_timeout(Some(patience))?;
    // The default holds less than what comes while this thread waits for a core.
    set_socket_recv_buffer_size_force(to, SOCKET_BUFFER_BYTES)?;
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let receiver = scope.spawn(|| receive(to, &done));
        let sent = offer(from, payload_bytes, rate, length);
        done.store(true, Ordering::Relaxed);
        let goodput = receiver.join().expect("the receiver does not panic");
        sent.and(goodput)
    })
}

fn offer(from: &UdpSocket, payload_bytes: usize, rate: BitsPerSec, length: Duration) -> io::Result<()> {
    let payload = vec![0; payload_bytes];
    let start = Instant::now();
    let mut sent_bits = 0.0;
    while start.elapsed() < length {
        let due_bits = rate.0 as f64 * start.elapsed().as_secs_f64();
        while sent_bits < due_bits {
            from.send(&payload)?;
            sent_bits += 8.0 * payload_bytes as f64;
        }
        std::thread::sleep(PACE);
    }
    Ok(())
}

fn receive(to: &UdpSocket, done: &AtomicBool) -> io::Result<f64> {
    let mut buffer = vec![0; usize::from(u16::MAX)];
    let mut first = None;
    let mut last = Instant::now();
    let mut bytes = 0;
    loop {
        match unless_timeout(to.recv(&mut buffer))? {
            Some(got) => {
                last = Instant::now();
                // The first one marks the start: its bytes came before.
                bytes += if first.is_some() { got } else { 0 };
                first.get_or_insert(last);
            }
            None if done.load(Ordering::Relaxed) => break,
            None => (),
        }
    }
    Ok(first.map_or(0.0, |first| bits_per_second(bytes, last - first)))
}

/// What one TCP connection carried.
pub(super) struct TcpGoodput {
    /// Bits per second from the first byte on.
    pub(super) mean_bps: f64,
    /// Of the second half of the time, without the connection's start.
    pub(super) second_half_bps: f64,
}

pub(super) fn tcp_goodput(from: TcpStream, mut to: TcpStream, length: Duration) -> io::Result<TcpGoodput> {
    to.set_read_timeout(Some(POLL))?;
    let start = Instant::now();
    let sender = std::thread::spawn(move || fill(from));
    let mut buffer = vec![0; 1 << 20];
    let (mut first_half, mut second_half) = (0, 0);
    while start.elapsed() < length {
        let bytes = unless_timeout(to.read(&mut buffer))?.unwrap_or(0);
        let half = if start.elapsed() < length / 2 { &mut first_half } else { &mut second_half };
        *half += bytes;
    }
    let elapsed = start.elapsed();
    // With unread bytes this resets the connection, which is how the sender learns that it is over.
    to.shutdown(std::net::Shutdown::Both)?;
    drop(to);
    sender.join().expect("the sender does not panic");
    Ok(TcpGoodput {
        mean_bps: bits_per_second(first_half + second_half, elapsed),
        second_half_bps: bits_per_second(second_half, elapsed - length / 2),
    })
}

/// Until the peer closes the connection.
fn fill(mut from: TcpStream) {
    let chunk = vec![0; 64 << 10];
    while from.write_all(&chunk).is_ok() {}
}

fn bits_per_second(bytes: usize, time: Duration) -> f64 {
    if time.is_zero() { 0.0 } else { 8.0 * bytes as f64 / time.as_secs_f64() }
}

fn unless_timeout<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Ok(None),
        Err(error) => Err(error),
    }
}

/// How often who waits for a packet looks whether all is over.
const POLL: Duration = Duration::from_millis(100);
/// Between two trains of datagrams; short against any queue.
const PACE: Duration = Duration::from_micros(500);
const SOCKET_BUFFER_BYTES: usize = 8 << 20;
