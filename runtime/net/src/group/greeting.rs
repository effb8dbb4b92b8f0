//! The first words on a link between members: both sides say who they are, then the dialling side probes.
//!
//! Fixed layouts, little-endian: hello = magic u32, protocol u32, job u64, generation u32, rank u16, lane u16;
//! ping = index u64; pong = the answering clock u64 in microseconds since 1970; summary = round trip u64,
//! skew i64. Only then may segments follow.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use hcrun_protocol::control::PROTOCOL_VERSION;
use hcrun_protocol::{Generation, JobId, Rank, Span};
use quinn::{Connection, RecvStream, SendStream};

use super::{GreetingError, LinkReport};
use crate::loss::LinkLoss;

const MAGIC: [u8; 4] = *b"hcrn";
const HELLO_BYTES: usize = 24;
/// The first is slow (the path is cold), the best of these is the path's.
const PROBES: u64 = 6;

/// What both sides must say alike, but for the rank.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hello {
    pub(super) job: JobId,
    pub(super) generation: Generation,
    pub(super) rank: Rank,
    pub(super) lane: u16,
}

impl Hello {
    fn encode(self) -> [u8; HELLO_BYTES] {
        let mut bytes = [0; HELLO_BYTES];
        bytes[..4].copy_from_slice(&MAGIC);
        bytes[4..8].copy_from_slice(&PROTOCOL_VERSION.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.job.0.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.generation.0.to_le_bytes());
        bytes[20..22].copy_from_slice(&self.rank.0.to_le_bytes());
        bytes[22..].copy_from_slice(&self.lane.to_le_bytes());
        bytes
    }

    /// Reads the peer's hello; its rank is the caller's to check.
    fn decode(self, bytes: &[u8; HELLO_BYTES]) -> Result<Rank, GreetingError> {
        if bytes[..4] != MAGIC {
            return Err(GreetingError::Malformed);
        }
        let protocol = u32::from_le_bytes(part(&bytes[4..8]));
        if protocol != PROTOCOL_VERSION {
            return Err(GreetingError::Protocol { got: protocol, expected: PROTOCOL_VERSION });
        }
        let job = JobId(u64::from_le_bytes(part(&bytes[8..16])));
        if job != self.job {
            return Err(GreetingError::Job { got: job, expected: self.job });
        }
        let generation = Generation(u32::from_le_bytes(part(&bytes[16..20])));
        if generation != self.generation {
            return Err(GreetingError::Generation { got: generation, expected: self.generation });
        }
        let lane = u16::from_le_bytes(part(&bytes[22..]));
        if lane != self.lane {
            return Err(GreetingError::Lane { got: lane, expected: self.lane });
        }
        Ok(Rank(u16::from_le_bytes(part(&bytes[20..22]))))
    }
}

fn part<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.try_into().expect("a field of the fixed layout")
}

/// The dialling side: greets `peer` and probes the link.
pub(super) async fn dial(
    connection: &Connection,
    me: Hello,
    peer: Rank,
) -> Result<LinkReport, GreetingError> {
    let (mut sending, mut receiving) = connection.open_bi().await.map_err(lost)?;
    write(&mut sending, &me.encode()).await?;
    expect_rank(me.decode(&read(&mut receiving).await?)?, peer)?;
    let mut best: Option<(u64, i64)> = None;
    for probe in 0..PROBES {
        let (clock, started) = (unix_micros(), Instant::now());
        write(&mut sending, &probe.to_le_bytes()).await?;
        let answered = u64::from_le_bytes(read(&mut receiving).await?);
        let round_trip = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
        let middle = clock.saturating_add(round_trip / 2);
        let skew = answered.cast_signed().saturating_sub(middle.cast_signed());
        if best.is_none_or(|(shortest, _)| round_trip < shortest) {
            best = Some((round_trip, skew));
        }
    }
    let (round_trip, skew) = best.expect("at least one probe");
    let summary = [round_trip.to_le_bytes(), skew.to_le_bytes()].concat();
    write(&mut sending, &summary).await?;
    drop(sending.finish());
    Ok(report(connection, peer, round_trip, skew))
}

/// The listening side: greets `peer` and answers its probes.
pub(super) async fn answer(
    connection: &Connection,
    me: Hello,
    peer: Rank,
) -> Result<LinkReport, GreetingError> {
    let (mut sending, mut receiving) = connection.accept_bi().await.map_err(lost)?;
    expect_rank(me.decode(&read(&mut receiving).await?)?, peer)?;
    write(&mut sending, &me.encode()).await?;
    for _ in 0..PROBES {
        let _probe: [u8; 8] = read(&mut receiving).await?;
        write(&mut sending, &unix_micros().to_le_bytes()).await?;
    }
    let summary: [u8; 16] = read(&mut receiving).await?;
    drop(sending.finish());
    let round_trip = u64::from_le_bytes(part(&summary[..8]));
    let skew = i64::from_le_bytes(part(&summary[8..]));
    Ok(report(connection, peer, round_trip, skew.saturating_neg()))
}

fn expect_rank(got: Rank, expected: Rank) -> Result<(), GreetingError> {
    if got == expected { Ok(()) } else { Err(GreetingError::Rank { got, expected }) }
}

fn report(connection: &Connection, peer: Rank, round_trip: u64, skew_micros: i64) -> LinkReport {
    let mtu = connection.stats().path.current_mtu;
    LinkReport { peer, round_trip: Span::from_micros(round_trip), mtu, skew_micros }
}

async fn write(stream: &mut SendStream, bytes: &[u8]) -> Result<(), GreetingError> {
    stream.write_all(bytes).await.map_err(|error| GreetingError::Lost(error.into()))
}

async fn read<const N: usize>(stream: &mut RecvStream) -> Result<[u8; N], GreetingError> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes).await.map_err(|error| match error {
        quinn::ReadExactError::ReadError(error) => GreetingError::Lost(error.into()),
        quinn::ReadExactError::FinishedEarly(_) => GreetingError::Malformed,
    })?;
    Ok(bytes)
}

fn lost(error: quinn::ConnectionError) -> GreetingError {
    GreetingError::Lost(LinkLoss::from(error))
}

fn unix_micros() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_micros()).unwrap_or(u64::MAX)
}
