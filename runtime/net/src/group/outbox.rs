//! What is to be sent, by peer, and which lane takes it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;

use bytes::Bytes;
use hcrun_protocol::buffers::Buffers;
use hcrun_protocol::dtype::{Codec, Packing};
use hcrun_protocol::frame::{HEADER_BYTES, SegmentHeader};
use hcrun_protocol::round::{Input, RoundId};
use hcrun_protocol::schedule::{Coverage, Level, Phase};
use hcrun_protocol::{Rank, Step, ZoneId};
use tokio::sync::mpsc;

use super::link::{Outgoing, Port};
use super::pool::Pool;
use super::shell::Shell;
use super::{FormSpec, RoundError};
use crate::loss::{self, CloseCode, LinkLoss};

/// A segment to send, not packed yet, and to how many peers.
pub(super) struct Job {
    pub(super) id: RoundId,
    pub(super) level: Level,
    pub(super) range: Range<usize>,
    pub(super) phase: Phase,
    pub(super) coverage: Coverage,
    pub(super) codec: Codec,
    pub(super) waiting: usize,
    /// Packing by a lossy codec changes what is packed, so it happens once.
    pub(super) packed: Option<Bytes>,
}

pub(super) struct Outbox {
    peers: BTreeMap<Rank, Peer>,
    jobs: BTreeMap<u64, Job>,
    next_job: u64,
    pool: Pool,
    /// Jobs that are packed and wait for a slower peer.
    packed: BTreeSet<u64>,
    /// There was no room for more of them, and now there is.
    unblocked: bool,
}

struct Peer {
    zone: ZoneId,
    lanes: Vec<LanePort>,
    /// Lanes that can take a segment, once for each that they can take.
    room: VecDeque<usize>,
    /// By age of the round, then in the order they were queued.
    waiting: BTreeMap<(u64, u64), u64>,
    /// Lanes on which the peer has said that it is done.
    ended: usize,
    /// It has said so on all, after it had sent all it had to send.
    left: Option<LinkLoss>,
}

struct LanePort {
    connection: quinn::Connection,
    /// How much room segments from the peer have here, and how much the next one asked for.
    grains: usize,
    asked: usize,
    queue: mpsc::UnboundedSender<Outgoing>,
}

/// Jobs that wait packed for slower peers. Beyond that faster ones wait for these.
const PACKED_LIMIT: usize = 32;
/// Segments a lane has besides what QUIC has taken. More would only push what is packed out of the cache.
const AHEAD: usize = 1;

impl Outbox {
    pub(super) fn new(spec: &FormSpec, ports: Vec<Port>) -> Outbox {
        let mut peers: BTreeMap<Rank, Peer> = BTreeMap::new();
        let mut ports = ports;
        ports.sort_by_key(|port| port.lane);
        for Port { peer, connection, queue, grains, .. } in ports {
            let zone = spec.members[peer.index()].zone.clone();
            let entry = peers.entry(peer).or_insert_with(|| Peer {
                zone,
                lanes: Vec::new(),
                room: VecDeque::new(),
                waiting: BTreeMap::new(),
                ended: 0,
                left: None,
            });
            entry.lanes.push(LanePort { connection, queue, grains, asked: 0 });
        }
        for peer in peers.values_mut() {
            peer.room = (0..AHEAD).flat_map(|_| 0..peer.lanes.len()).collect();
        }
        Outbox {
            peers,
            jobs: BTreeMap::new(),
            next_job: 0,
            pool: Pool::default(),
            packed: BTreeSet::new(),
            unblocked: false,
        }
    }

    pub(super) fn queue(&mut self, age: u64, job: Job, to: &[Rank]) {
        let key = self.next_job;
        self.next_job += 1;
        for rank in to {
            // One that is no member is found when it is sent to.
            if let Some(peer) = self.peers.get_mut(rank) {
                peer.waiting.insert((age, key), key);
            }
        }
        self.jobs.insert(key, job);
    }

    pub(super) fn on_room(&mut self, peer: Rank, lane: usize) {
        if let Some(peer) = self.peers.get_mut(&peer) {
            peer.room.push_back(lane);
        }
    }

    /// The peer is done on one of its lanes. Whether it has left: another lane may still hold what it sent.
    pub(super) fn on_done(&mut self, peer: Rank, loss: &LinkLoss) -> bool {
        let Some(peer) = self.peers.get_mut(&peer) else { return false };
        peer.ended += 1;
        if peer.ended >= peer.lanes.len() {
            peer.left = Some(loss.clone());
        }
        peer.left.is_some()
    }

    /// The step of the first segment that waits for the peer.
    pub(super) fn waits_for(&self, peer: Rank) -> Option<Step> {
        let (_, job) = self.peers.get(&peer)?.waiting.first_key_value()?;
        self.jobs.get(job).map(|job| job.id.step)
    }

    pub(super) fn left(&self) -> Vec<Rank> {
        self.peers.iter().filter(|(_, peer)| peer.left.is_some()).map(|(rank, _)| *rank).collect()
    }

    pub(super) fn loss_of(&self, peer: Rank) -> Option<LinkLoss> {
        self.peers.get(&peer)?.left.clone()
    }

    /// How much room the next segment on a lane asked for; none once it has come.
    pub(super) fn set_asked(&mut self, peer: Rank, lane: usize, grains: usize) {
        let lane = self.peers.get_mut(&peer).and_then(|peer| peer.lanes.get_mut(lane));
        lane.into_iter().for_each(|lane| lane.asked = grains);
    }

    /// The lanes whose next segment asked for room, and how much others may hold for it to come.
    pub(super) fn asking(&self) -> Vec<(Rank, usize, usize)> {
        let lanes = |(rank, peer): (&Rank, &Peer)| {
            let lanes = peer.lanes.iter().enumerate().filter(|(_, lane)| lane.asked > 0);
            let lanes = lanes.map(|(index, lane)| (*rank, index, lane.grains.saturating_sub(lane.asked)));
            lanes.collect::<Vec<_>>()
        };
        self.peers.iter().flat_map(lanes).collect()
    }

    /// Closes the links to one peer or to all.
    pub(super) fn close(&mut self, peer: Option<Rank>, code: CloseCode, reason: &str) {
        for (_, peer) in self.peers.iter_mut().filter(|(rank, _)| peer.is_none_or(|peer| peer == **rank)) {
            peer.lanes.iter().for_each(|lane| loss::close(&lane.connection, code, reason));
        }
        if peer.is_none() {
            self.jobs.clear();
            self.packed.clear();
            self.peers.values_mut().for_each(|peer| peer.waiting.clear());
        }
    }

    /// Drops the queues.
    pub(super) fn into_connections(self) -> Vec<quinn::Connection> {
        let lanes = self.peers.into_values().flat_map(|peer| peer.lanes);
        lanes.map(|lane| lane.connection).collect()
    }

    /// The next segment for the peer and the lane that takes it, if there are both.
    fn next(&mut self, peer: Rank) -> Option<(u64, usize)> {
        let peer = self.peers.get_mut(&peer)?;
        let lane = *peer.room.front()?;
        let place = if self.packed.len() < PACKED_LIMIT {
            *peer.waiting.first_key_value()?.0
        } else {
            // Nothing more is packed that would have to be kept.
            let kept = |job: &Job| job.codec.is_lossy() && job.packed.is_none() && job.waiting > 1;
            let goes = |(_, key): &(_, &u64)| self.jobs.get(*key).is_none_or(|job| !kept(job));
            *peer.waiting.iter().find(goes)?.0
        };
        peer.room.pop_front();
        Some((peer.waiting.remove(&place)?, lane))
    }

    /// Puts a job back for the peers that it still waits for; none is left of one that all have taken.
    fn keep(&mut self, key: u64, job: Job) -> Option<Job> {
        let full = self.packed.len() >= PACKED_LIMIT;
        if job.waiting == 0 {
            self.unblocked |= self.packed.remove(&key) && full;
            return Some(job);
        }
        if job.packed.is_some() {
            self.packed.insert(key);
        }
        self.jobs.insert(key, job);
        None
    }
}

impl<B: Buffers> Shell<B> {
    /// Hands segments to the lanes of the peer while they have room; returns the bytes that it packed.
    pub(super) fn pump(&mut self, to: Rank) -> usize {
        let mut bytes = self.hand_over(to);
        while std::mem::take(&mut self.outbox.unblocked) {
            let peers: Vec<Rank> = self.outbox.peers.keys().copied().collect();
            bytes += peers.into_iter().map(|peer| self.hand_over(peer)).sum::<usize>();
        }
        bytes
    }

    fn hand_over(&mut self, to: Rank) -> usize {
        let mut bytes = 0;
        if !self.outbox.peers.contains_key(&to) && self.member_is_unknown(to) {
            return 0;
        }
        while let Some((key, lane)) = self.outbox.next(to) {
            let Some(mut job) = self.outbox.jobs.remove(&key) else { continue };
            let Some(outgoing) = self.pack(&mut job, to) else { return bytes };
            bytes += outgoing[1].len();
            let peer = &self.outbox.peers[&to];
            // If the writer has ended, its reason is on the way here.
            drop(peer.lanes[lane].queue.send(outgoing));
            job.waiting -= 1;
            if let Some(Job { id, range, .. }) = self.outbox.keep(key, job) {
                // The payload is a copy: the range may change again.
                self.feed(id, Input::Sent { range });
            }
        }
        bytes
    }

    /// A schedule that no verifier passed may name anybody.
    fn member_is_unknown(&mut self, to: Rank) -> bool {
        let reason = format!("the schedule names {to}, which is no other member");
        self.fail(RoundError::Aborted { step: Step(0), reason });
        true
    }

    /// Rounds a level as if it were sent, and sends it nowhere.
    pub(super) fn settle(&mut self, job: Job) -> usize {
        let Some(active) = self.active.get_mut(&job.id) else { return 0 };
        let bytes = job.range.len() * active.buffers.dtype().bytes();
        let packing = Packing { codec: job.codec, phase: job.phase, source: self.spec.me };
        let mut scratch =
            Vec::with_capacity(job.codec.payload_bytes(active.buffers.dtype(), job.range.len()));
        match active.buffers.encode(job.level, job.range.clone(), packing, &mut scratch) {
            Ok(()) => self.feed(job.id, Input::Sent { range: job.range }),
            Err(source) => self.fail(RoundError::Memory { step: job.id.step, source }),
        }
        bytes
    }

    /// The frame for one peer; none if it may not be sent, and then the group has failed.
    fn pack(&mut self, job: &mut Job, to: Rank) -> Option<Outgoing> {
        let peer = self.outbox.peers.get(&to)?;
        let (same_zone, left) = (peer.zone == *self.zone(), peer.left.clone());
        let (me, generation) = (self.spec.me, job.id.generation);
        let active = self.active.get_mut(&job.id)?;
        let (class, dtype) = (active.class(job.coverage), active.buffers.dtype());
        if !same_zone && (!class.may_cross_border() || job.coverage == Coverage::Partial) {
            let peer = Box::new(self.member(to).peer());
            let (step, coverage) = (job.id.step, job.coverage);
            self.fail(RoundError::Border { peer, step, class, coverage });
            return None;
        }
        if let Some(loss) = left {
            self.on_gone(to, job.id.step, loss);
            return None;
        }
        let payload = match &job.packed {
            Some(packed) => packed.clone(),
            None => {
                let mut payload = self.outbox.pool.take();
                payload.reserve(job.codec.payload_bytes(dtype, job.range.len()));
                let packing = Packing { codec: job.codec, phase: job.phase, source: me };
                let packed = active.buffers.encode(job.level, job.range.clone(), packing, &mut payload);
                if let Err(source) = packed {
                    self.fail(RoundError::Memory { step: job.id.step, source });
                    return None;
                }
                self.outbox.pool.lend(payload)
            }
        };
        if job.codec.is_lossy() && job.waiting > 1 {
            job.packed = Some(payload.clone());
        }
        let header = SegmentHeader {
            class,
            job: self.spec.job,
            generation,
            attempt: job.id.attempt,
            source: me,
            round: job.id.tag,
            step: job.id.step,
            offset: job.range.start as u64,
            elems: u32::try_from(job.range.len()).expect("segments are capped far below 2^32"),
            dtype,
            codec: job.codec,
            op: active.buffers.op(),
            phase: job.phase,
            coverage: job.coverage,
            schedule: active.schedule(),
        };
        self.counters.on_sent(to, class, HEADER_BYTES + payload.len());
        Some([Bytes::copy_from_slice(&header.encode()), payload])
    }
}
