//! The data mesh of one generation: a link to every other member and the rounds that run over them.
//!
//! A lane is one UDP socket, one QUIC endpoint and one thread with its own runtime; lane i is linked to lane i
//! of each peer. [`LaneListener::bind`] opens them, [`LaneListener::form`] links them to all members and checks
//! who they are, and the [`Group`] takes rounds from the compute thread. The order of everything in a round is
//! protocol's [`Round`](hcrun_protocol::round::Round); lanes move its bytes, lane 0's thread does its
//! arithmetic.
//!
//! Bounds: a segment is at most `segment_bytes`; a few of them a lane are packed and wait for QUIC, which
//! holds at most its send window; on each lane `staging_bytes` may wait for their turn, beyond a peer's share
//! of that its sends wait. Where the oldest round that waits for a peer could wait for good, because what it
//! waits for lies behind segments of others, these are let go one by one (`stall.rs`): of running rounds up to
//! all that they receive, of rounds to come up to `staging_bytes` once more. What ranks make of it that are
//! further apart, the deadline of a round ends.
//! Frames of class gradient, and partial sums of any class, never go to nor are taken from another zone.

mod counters;
mod early;
mod error;
mod form;
mod greeting;
mod lane;
mod link;
mod outbox;
mod over;
mod payload;
mod pool;
mod shell;
mod stall;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use hcrun_protocol::frame::FrameClass;
use hcrun_protocol::round::RoundId;
use hcrun_protocol::schedule::{Coverage, Program};
use hcrun_protocol::{Generation, JobId, Rank, SlotId, Span, ZoneId};
use tokio::sync::mpsc::UnboundedSender;

pub use counters::{Counters, PeerBytes};
pub use error::{FormError, GreetingError, Pair, RoundError, SegmentFault};
pub use lane::{LaneListener, LaneSettings};

use crate::identity::Peer;

/// One member of a generation, as the coordinator announced it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    pub rank: Rank,
    pub slot: SlotId,
    pub zone: ZoneId,
    /// Where its lanes listen, in their order; empty if nobody knows.
    pub lanes: Vec<SocketAddr>,
    /// Whether other zones can dial it. With `false` it only dials out to them.
    pub reachable: bool,
}

impl Member {
    /// Who its certificate has to name.
    pub fn peer(&self) -> Peer {
        Peer::slot(self.slot.clone(), self.zone.clone())
    }
}

/// What a group is formed of.
#[derive(Debug, Clone)]
pub struct FormSpec {
    pub job: JobId,
    pub generation: Generation,
    pub me: Rank,
    /// All members, in rank order.
    pub members: Vec<Member>,
    /// How long it may take until all links stand.
    pub deadline: Duration,
    /// How many bytes of all peers may wait on each lane for their turn, or for rounds that are not submitted
    /// here yet; beyond a peer's share its sends wait. Ranks that submit in the same order stay within it, but
    /// where one waits for a round before it submits the next, or orders differ, they may be apart by about as
    /// much again.
    pub staging_bytes: usize,
    /// Longest payload of a segment.
    pub segment_bytes: usize,
}

/// What the probe of a link found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkReport {
    pub peer: Rank,
    /// The best of several.
    pub round_trip: Span,
    /// UDP payload that has passed so far; discovery may still raise it.
    pub mtu: u16,
    /// The peer's clock less ours, in microseconds, give or take half the round trip.
    pub skew_micros: i64,
}

/// Which class the frames of a round travel as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RoundClasses {
    /// Of one worker's values and sums that miss workers of the sender's zone.
    pub partial: FrameClass,
    /// Of complete sums, and of values that are not per worker.
    pub complete: FrameClass,
}

impl RoundClasses {
    /// Gradients: partial ones stay inside the zone.
    pub const GRADIENTS: RoundClasses =
        RoundClasses { partial: FrameClass::Gradient, complete: FrameClass::GradientSum };

    /// One class for all frames.
    pub fn both(class: FrameClass) -> RoundClasses {
        RoundClasses { partial: class, complete: class }
    }

    fn of(self, coverage: Coverage) -> FrameClass {
        match coverage {
            Coverage::Partial => self.partial,
            Coverage::Complete => self.complete,
        }
    }
}

/// One collective to run.
#[derive(Debug)]
pub struct RoundSpec<B> {
    /// Equal on all ranks, and never used before in this group.
    pub id: RoundId,
    pub classes: RoundClasses,
    /// This rank's part of the schedule.
    pub program: Arc<Program>,
    /// Level 0 is final.
    pub buffers: B,
    pub deadline: Span,
}

/// The links to all other members. Shared by reference; any thread may submit.
///
/// Dropping it is [`Self::close`].
pub struct Group<B> {
    commands: UnboundedSender<shell::Command<B>>,
    aborter: Aborter,
    counters: Arc<Counters>,
    reports: Vec<LinkReport>,
    spec: FormSpec,
    threads: Vec<lane::LaneThread>,
}

/// Ends all rounds of a group from any thread; outlives the group without keeping it.
#[derive(Clone)]
pub struct Aborter {
    cause: Arc<tokio::sync::watch::Sender<Option<String>>>,
}

impl Aborter {
    /// Fails every round, running and to come, with `cause`, and tells the peers. The first call counts.
    pub fn abort(&self, cause: &str) {
        self.cause.send_if_modified(|current| {
            let first = current.is_none();
            if first {
                *current = Some(cause.to_owned());
            }
            first
        });
    }
}

/// A submitted round.
#[derive(Debug)]
pub struct RoundHandle<B> {
    id: RoundId,
    result: Receiver<Result<B, RoundError>>,
}

impl<B> RoundHandle<B> {
    /// As it was submitted.
    pub fn id(&self) -> RoundId {
        self.id
    }

    /// Blocks until the round has ended, at the latest at its deadline.
    ///
    /// # Errors
    /// The same first cause for all rounds of the group: after one has failed, none can succeed. A round that
    /// was refused when it was submitted, such as by [`RoundError::Twice`], fails alone.
    pub fn wait(self) -> Result<B, RoundError> {
        self.result.recv().unwrap_or(Err(RoundError::Closed))
    }
}

impl<B> Group<B> {
    /// Starts a round. Costs a message to the lane's thread and never blocks.
    ///
    /// The buffers have as many elements as the program; the bytes and steps that it takes are the
    /// program's. Errors, also those of the submission, come from [`RoundHandle::wait`].
    ///
    /// # Cancel safety
    /// A handle that is dropped leaves the round running: the other ranks need this one's part.
    pub fn submit(&self, spec: RoundSpec<B>) -> RoundHandle<B> {
        let (reply, result) = std::sync::mpsc::sync_channel(1);
        let id = spec.id;
        // When the lane is gone the reply goes with it, and waiting says so.
        drop(self.commands.send(shell::Command::Submit { spec, reply }));
        RoundHandle { id, result }
    }

    /// Fails every round, running and to come, with `cause`, and tells the peers.
    pub fn abort(&self, cause: &str) {
        self.aborter.abort(cause);
    }

    /// For the thread that learns of failures elsewhere.
    pub fn aborter(&self) -> Aborter {
        self.aborter.clone()
    }

    /// This worker's rank.
    pub fn me(&self) -> Rank {
        self.spec.me
    }

    /// As the group was formed with.
    pub fn generation(&self) -> Generation {
        self.spec.generation
    }

    /// In rank order.
    pub fn members(&self) -> &[Member] {
        &self.spec.members
    }

    /// Longest payload of a segment.
    pub fn segment_bytes(&self) -> usize {
        self.spec.segment_bytes
    }

    /// What was sent and received; may be kept longer than the group.
    pub fn counters(&self) -> Arc<Counters> {
        self.counters.clone()
    }

    /// One per peer, in rank order.
    pub fn link_reports(&self) -> &[LinkReport] {
        &self.reports
    }

    /// Delivers what rounds that have ended here still send, closes the links, ends the thread and frees the
    /// port. Takes as long as the links need for it, which is at most what they hold on their way; peers that
    /// take nothing any more for about their `silence` are not waited for. Rounds that still run fail, here
    /// and at the peers.
    pub fn close(self) {}
}

impl<B> Drop for Group<B> {
    fn drop(&mut self) {
        drop(self.commands.send(shell::Command::Close));
        self.threads.iter_mut().for_each(lane::LaneThread::join);
    }
}

#[cfg(test)]
mod tests;
