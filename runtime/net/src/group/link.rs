//! The two tasks of a link: one writes segments in the order they were queued, one reads and checks them.

use std::sync::Arc;

use bytes::Bytes;
use hcrun_protocol::frame::{HEADER_BYTES, SegmentHeader};
use hcrun_protocol::schedule::Coverage;
use hcrun_protocol::{Generation, JobId, Rank};
use quinn::{Connection, ReadExactError, RecvStream};
use tokio::sync::mpsc;

use super::SegmentFault;
use super::counters::Counters;
use crate::loss::LinkLoss;

/// A segment on its way out: header, then payload.
pub(super) type Outgoing = [Bytes; 2];

/// What a link tells the shell.
pub(super) enum Event {
    Arrived { from: Rank, header: SegmentHeader, payload: Bytes },
    Lost { peer: Rank, loss: LinkLoss },
    Fault { peer: Rank, fault: SegmentFault },
}

/// What a reader holds its peer to.
pub(super) struct Rules {
    pub(super) job: JobId,
    pub(super) generation: Generation,
    pub(super) peer: Rank,
    pub(super) same_zone: bool,
    pub(super) segment_bytes: usize,
    pub(super) counters: Arc<Counters>,
}

/// Writes until the queue is closed, then waits until the peer has acknowledged everything.
///
/// # Errors
/// Why the link no longer takes segments.
pub(super) async fn write(
    connection: Connection,
    mut queue: mpsc::UnboundedReceiver<Outgoing>,
) -> Result<(), LinkLoss> {
    let mut stream = connection.open_uni().await?;
    while let Some(mut segment) = queue.recv().await {
        stream.write_all_chunks(&mut segment).await?;
    }
    if stream.finish().is_ok() {
        drop(stream.stopped().await);
    }
    Ok(())
}

/// Reads until the link ends. The channel is short: while the shell is busy the peer's sends wait in QUIC.
pub(super) async fn read(connection: Connection, rules: Rules, events: mpsc::Sender<Event>) {
    let peer = rules.peer;
    let end = match connection.accept_uni().await {
        Ok(mut stream) => loop {
            match next(&mut stream, &rules).await {
                Ok(Some((header, payload))) => {
                    if events.send(Event::Arrived { from: peer, header, payload }).await.is_err() {
                        return;
                    }
                }
                Ok(None) => {}
                Err(end) => break end,
            }
        },
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

/// The next segment; none for one of an older generation, which is dropped and counted.
async fn next(stream: &mut RecvStream, rules: &Rules) -> Result<Option<(SegmentHeader, Bytes)>, End> {
    let mut header = [0; HEADER_BYTES];
    stream.read_exact(&mut header).await.map_err(ended)?;
    let decoded = SegmentHeader::decode(&header, rules.segment_bytes);
    let header = decoded.map_err(|error| End::Fault(SegmentFault::Frame(error)))?;
    rules.check(&header).map_err(End::Fault)?;
    let mut payload = vec![0; header.payload_bytes()];
    stream.read_exact(&mut payload).await.map_err(|error| match ended(error) {
        End::Loss(LinkLoss::Ended) => End::Loss(LinkLoss::Truncated),
        other => other,
    })?;
    header.check_payload(&payload).map_err(|error| End::Fault(SegmentFault::Frame(error)))?;
    if header.generation < rules.generation {
        rules.counters.on_outdated();
        return Ok(None);
    }
    rules.counters.on_received(rules.peer, header.class, HEADER_BYTES + payload.len());
    Ok(Some((header, Bytes::from(payload))))
}

impl Rules {
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

fn ended(error: ReadExactError) -> End {
    End::Loss(match error {
        ReadExactError::FinishedEarly(0) => LinkLoss::Ended,
        ReadExactError::FinishedEarly(_) => LinkLoss::Truncated,
        ReadExactError::ReadError(error) => error.into(),
    })
}
