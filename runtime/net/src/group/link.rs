//! The two tasks of a link: one writes segments as it is handed them, one reads and checks them.

use std::sync::Arc;

use bytes::Bytes;
use hcrun_protocol::frame::{HEADER_BYTES, SegmentHeader};
use hcrun_protocol::schedule::Coverage;
use hcrun_protocol::{Generation, JobId, Rank};
use quinn::{Connection, RecvStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;

use super::counters::Counters;
use super::form::Link;
use super::payload::Payload;
use super::{FormSpec, LinkReport, SegmentFault};
use crate::loss::{CloseCode, LinkLoss};

/// A segment on its way out: header, then payload.
pub(super) type Outgoing = [Bytes; 2];

/// A segment that has come in, with its share of what its peer may have here that waits for its turn.
pub(super) struct Arrival {
    pub(super) header: SegmentHeader,
    pub(super) payload: Payload,
    pub(super) lane: usize,
    /// None once its peer was let go on regardless.
    pub(super) permit: Option<OwnedSemaphorePermit>,
}

/// What a reader tells the shell.
pub(super) enum Event {
    Arrived {
        from: Rank,
        arrival: Arrival,
    },
    /// The next segment of the lane waits for so much room.
    HeldUp {
        peer: Rank,
        lane: usize,
        grains: usize,
    },
    /// One of the lanes to the peer has ended; all that came on it has been told before.
    Lost {
        peer: Rank,
        loss: LinkLoss,
    },
    Fault {
        peer: Rank,
        fault: SegmentFault,
    },
}

/// What a writer tells the shell.
pub(super) enum Notice {
    /// QUIC has taken a segment.
    Room { peer: Rank, lane: usize },
    /// The writer has ended: everything is acknowledged, or the link did not take what it was handed.
    Ended { peer: Rank, result: Result<(), LinkLoss> },
}

/// How links reach the shell, from all lanes.
#[derive(Clone)]
pub(super) struct Hub {
    events: mpsc::Sender<Event>,
    notices: mpsc::UnboundedSender<Notice>,
}

pub(super) struct Inbox {
    pub(super) events: mpsc::Receiver<Event>,
    /// Bounded by what was handed to the writers.
    pub(super) notices: mpsc::UnboundedReceiver<Notice>,
}

/// How many segments of all peers may wait between the readers and the shell: while it is busy, the peers'
/// sends wait in QUIC.
const EVENT_LIMIT: usize = 16;

pub(super) fn hub() -> (Hub, Inbox) {
    let (event, events) = mpsc::channel(EVENT_LIMIT);
    let (notice, notices) = mpsc::unbounded_channel();
    (Hub { events: event, notices: notice }, Inbox { events, notices })
}

/// The shell's end of a link.
pub(super) struct Port {
    pub(super) peer: Rank,
    pub(super) lane: usize,
    pub(super) connection: Connection,
    pub(super) queue: mpsc::UnboundedSender<Outgoing>,
    pub(super) report: LinkReport,
    /// How much room its segments have here.
    pub(super) grains: usize,
}

/// Starts the tasks of a link on the runtime of its lane.
pub(super) fn open(
    link: Link,
    lane: usize,
    spec: &FormSpec,
    counters: &Arc<Counters>,
    hub: &Hub,
    tasks: &mut JoinSet<()>,
) -> Port {
    let Link { member, connection, report } = link;
    let peer = member.rank;
    let me = &spec.members[spec.me.index()];
    // Every segment fits alone, and one more while it waits.
    let share = spec.staging_bytes / (spec.members.len() - 1).max(1);
    let staging_bytes = share.max(2 * (spec.segment_bytes + HEADER_BYTES));
    let grains = staging_bytes.div_ceil(GRAIN_BYTES).min(Semaphore::MAX_PERMITS);
    let rules = Rules {
        job: spec.job,
        generation: spec.generation,
        peer,
        lane,
        same_zone: member.zone == me.zone,
        segment_bytes: spec.segment_bytes,
        counters: counters.clone(),
        staging: Arc::new(Semaphore::new(grains)),
    };
    let (queue, segments) = mpsc::unbounded_channel();
    let (events, notices) = (hub.events.clone(), hub.notices.clone());
    tasks.spawn(read(connection.clone(), rules, events));
    let writing = connection.clone();
    tasks.spawn(async move {
        let result = write(writing, peer, lane, segments, &notices).await;
        drop(notices.send(Notice::Ended { peer, result }));
    });
    Port { peer, lane, connection, queue, report, grains }
}

/// What a permit stands for.
const GRAIN_BYTES: usize = 1 << 10;

/// What a reader holds its peer to.
struct Rules {
    job: JobId,
    generation: Generation,
    peer: Rank,
    lane: usize,
    same_zone: bool,
    segment_bytes: usize,
    counters: Arc<Counters>,
    /// Room for segments that wait for their turn. While there is none the peer's sends wait in QUIC.
    staging: Arc<Semaphore>,
}

/// Writes until the queue is closed, then waits until the peer has acknowledged everything.
///
/// # Errors
/// Why the link did not take a segment. A link that is lost while there is none is told by its reader.
async fn write(
    connection: Connection,
    peer: Rank,
    lane: usize,
    mut queue: mpsc::UnboundedReceiver<Outgoing>,
    notices: &mpsc::UnboundedSender<Notice>,
) -> Result<(), LinkLoss> {
    let mut stream = None;
    while let Some(mut segment) = queue.recv().await {
        let stream = match &mut stream {
            Some(stream) => stream,
            None => stream.insert(connection.open_uni().await?),
        };
        stream.write_all_chunks(&mut segment).await?;
        drop(notices.send(Notice::Room { peer, lane }));
    }
    if let Some(mut stream) = stream
        && stream.finish().is_ok()
    {
        drop(stream.stopped().await);
    }
    Ok(())
}

/// Reads until the link ends.
async fn read(connection: Connection, rules: Rules, events: mpsc::Sender<Event>) {
    let peer = rules.peer;
    let end = match connection.accept_uni().await {
        Ok(stream) => {
            let connection = connection.clone();
            let mut stream = Incoming { stream, connection, chunks: Default::default(), next: 0, filled: 0 };
            loop {
                match next(&mut stream, &rules, &events).await {
                    Ok(Some(arrival)) => {
                        if events.send(Event::Arrived { from: peer, arrival }).await.is_err() {
                            return;
                        }
                    }
                    Ok(None) => {}
                    Err(end) => break end,
                }
            }
        }
        Err(error) => End::Loss(error.into()),
    };
    let event = match end {
        // The reason comes with the close that follows the end of the stream.
        End::Loss(LinkLoss::Ended) => Event::Lost { peer, loss: connection.closed().await.into() },
        End::Loss(loss) => Event::Lost { peer, loss },
        End::Fault(fault) => Event::Fault { peer, fault },
    };
    drop(events.send(event).await);
}

enum End {
    Loss(LinkLoss),
    Fault(SegmentFault),
}

/// A stream with the chunks that were read from it and not used yet.
struct Incoming {
    stream: RecvStream,
    connection: Connection,
    chunks: [Bytes; CHUNKS_PER_READ],
    next: usize,
    filled: usize,
}

/// Chunks are at most a packet's payload; reading several at once takes the connection's lock once.
const CHUNKS_PER_READ: usize = 32;

impl Incoming {
    /// Up to `limit` bytes, as they came; none at the end of the stream.
    async fn chunk(&mut self, limit: usize) -> Result<Option<Bytes>, End> {
        if self.next == self.filled {
            let read = self.stream.read_chunks(&mut self.chunks).await;
            let Some(count) = read.map_err(|error| End::Loss(error.into()))? else { return Ok(None) };
            (self.next, self.filled) = (0, count);
        }
        let chunk = &mut self.chunks[self.next];
        if chunk.len() > limit {
            return Ok(Some(chunk.split_to(limit)));
        }
        self.next += 1;
        Ok(Some(std::mem::take(chunk)))
    }

    async fn header(&mut self) -> Result<[u8; HEADER_BYTES], End> {
        let mut header = [0; HEADER_BYTES];
        let mut filled = 0;
        while filled < HEADER_BYTES {
            match self.chunk(HEADER_BYTES - filled).await? {
                Some(chunk) => {
                    header[filled..filled + chunk.len()].copy_from_slice(&chunk);
                    filled += chunk.len();
                }
                None if filled == 0 => return Err(End::Loss(LinkLoss::Ended)),
                None => return Err(End::Loss(LinkLoss::Truncated)),
            }
        }
        Ok(header)
    }

    async fn payload(&mut self, bytes: usize) -> Result<Payload, End> {
        let mut payload = Payload::default();
        while payload.len() < bytes {
            let chunk = self.chunk(bytes - payload.len()).await?;
            payload.push(chunk.ok_or(End::Loss(LinkLoss::Truncated))?);
        }
        Ok(payload)
    }
}

/// The next segment; none for one of an older generation, which is dropped and counted.
async fn next(
    stream: &mut Incoming,
    rules: &Rules,
    events: &mpsc::Sender<Event>,
) -> Result<Option<Arrival>, End> {
    let header = SegmentHeader::decode(&stream.header().await?, rules.segment_bytes);
    let header = header.map_err(|error| End::Fault(SegmentFault::Frame(error)))?;
    rules.check(&header).map_err(End::Fault)?;
    let bytes = HEADER_BYTES + header.payload_bytes();
    // Never closed, and never asked for more than there is in all.
    let grains = u32::try_from(bytes.div_ceil(GRAIN_BYTES)).unwrap_or(u32::MAX);
    let permit = rules.room(&stream.connection, grains, events).await?;
    let payload = stream.payload(header.payload_bytes()).await?;
    if header.generation < rules.generation {
        rules.counters.on_outdated();
        return Ok(None);
    }
    rules.counters.on_received(rules.peer, header.class, bytes);
    Ok(Some(Arrival { header, payload, lane: rules.lane, permit: Some(permit) }))
}

impl Rules {
    /// Waits for room, and says so: the shell may have to make it. Why a link has ended lies behind what is held up: unless the peer is done, it is told
    /// at once.
    async fn room(
        &self,
        connection: &Connection,
        grains: u32,
        events: &mpsc::Sender<Event>,
    ) -> Result<OwnedSemaphorePermit, End> {
        if let Ok(permit) = self.staging.clone().try_acquire_many_owned(grains) {
            return Ok(permit);
        }
        let (peer, lane) = (self.peer, self.lane);
        // If nobody listens any more, the link is closed as well.
        drop(events.send(Event::HeldUp { peer, lane, grains: grains as usize }).await);
        let permit = self.staging.clone().acquire_many_owned(grains);
        tokio::pin!(permit);
        let permit = tokio::select! {
            permit = &mut permit => permit,
            error = connection.closed() => match LinkLoss::from(error) {
                LinkLoss::ClosedByPeer { code: CloseCode::Done, .. } => permit.await,
                loss => return Err(End::Loss(loss)),
            },
        };
        permit.map_err(|_| End::Loss(LinkLoss::ClosedHere))
    }

    /// Before anything is allocated for the payload.
    fn check(&self, header: &SegmentHeader) -> Result<(), SegmentFault> {
        if header.job != self.job {
            return Err(SegmentFault::Job { got: header.job, expected: self.job });
        }
        if header.generation > self.generation {
            return Err(SegmentFault::Generation { got: header.generation, expected: self.generation });
        }
        if header.source != self.peer {
            return Err(SegmentFault::Source { got: header.source });
        }
        if !self.same_zone && (!header.class.may_cross_border() || header.coverage == Coverage::Partial) {
            return Err(SegmentFault::Border { class: header.class, coverage: header.coverage });
        }
        Ok(())
    }
}
