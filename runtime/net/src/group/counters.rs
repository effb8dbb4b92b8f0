//! What a group has sent and received: the actual side of the ledger.

use std::sync::atomic::{AtomicU64, Ordering};

use hcrun_protocol::Rank;
use hcrun_protocol::frame::FrameClass;

/// Frame bytes (header and payload) per peer and class, and a counter that shows life.
#[derive(Debug)]
pub struct Counters {
    flows: Vec<[Flow; FrameClass::ALL.len()]>,
    progress: AtomicU64,
    outdated: AtomicU64,
    preserved: AtomicU64,
    staged: AtomicU64,
    most_staged: AtomicU64,
}

#[derive(Debug, Default)]
struct Flow {
    sent: AtomicU64,
    received: AtomicU64,
}

/// One row of the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerBytes {
    pub peer: Rank,
    pub class: FrameClass,
    pub sent: u64,
    pub received: u64,
}

impl Counters {
    pub(super) fn new(ranks: usize) -> Counters {
        let flows = (0..ranks).map(|_| Default::default()).collect();
        Counters {
            flows,
            progress: AtomicU64::new(0),
            outdated: AtomicU64::new(0),
            preserved: AtomicU64::new(0),
            staged: AtomicU64::new(0),
            most_staged: AtomicU64::new(0),
        }
    }

    /// Frame bytes so far, rows with any, in rank and class order. What was handed to a link counts as sent;
    /// when a round is done, everything that it sends has been handed over.
    pub fn snapshot(&self) -> Vec<PeerBytes> {
        let row = |(index, flows): (usize, &[Flow; FrameClass::ALL.len()])| {
            let row = |(class, flow): (FrameClass, &Flow)| PeerBytes {
                peer: Rank::from_index(index),
                class,
                sent: flow.sent.load(Ordering::Relaxed),
                received: flow.received.load(Ordering::Relaxed),
            };
            FrameClass::ALL.into_iter().zip(flows).map(row).collect::<Vec<_>>()
        };
        let rows = self.flows.iter().enumerate().flat_map(row);
        rows.filter(|row| row.sent + row.received > 0).collect()
    }

    /// Rises with every segment sent or received, for the heartbeat.
    pub fn progress(&self) -> u64 {
        self.progress.load(Ordering::Relaxed)
    }

    /// Frames of an older generation or attempt, which were dropped.
    pub fn outdated_frames(&self) -> u64 {
        self.outdated.load(Ordering::Relaxed)
    }

    /// The most payload bytes that ever waited here for their turn at once.
    pub fn most_staged_bytes(&self) -> u64 {
        self.most_staged.load(Ordering::Relaxed)
    }

    pub(super) fn on_staged(&self, bytes: usize) {
        let staged = self.staged.fetch_add(bytes as u64, Ordering::Relaxed) + bytes as u64;
        self.most_staged.fetch_max(staged, Ordering::Relaxed);
    }

    pub(super) fn on_unstaged(&self, bytes: usize) {
        self.staged.fetch_sub(bytes as u64, Ordering::Relaxed);
    }

    /// Bytes that were copied so that a failure loses nothing.
    pub fn preserved_bytes(&self) -> u64 {
        self.preserved.load(Ordering::Relaxed)
    }

    pub(crate) fn on_preserved(&self, bytes: usize) {
        self.preserved.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn on_sent(&self, to: Rank, class: FrameClass, bytes: usize) {
        self.count(to, class, |flow| &flow.sent, bytes);
    }

    pub(super) fn on_received(&self, from: Rank, class: FrameClass, bytes: usize) {
        self.count(from, class, |flow| &flow.received, bytes);
    }

    pub(super) fn on_outdated(&self) {
        self.outdated.fetch_add(1, Ordering::Relaxed);
    }

    fn count(&self, peer: Rank, class: FrameClass, side: fn(&Flow) -> &AtomicU64, bytes: usize) {
        let index = FrameClass::ALL.iter().position(|other| *other == class).expect("ALL holds every class");
        side(&self.flows[peer.index()][index]).fetch_add(bytes as u64, Ordering::Relaxed);
        self.progress.fetch_add(1, Ordering::Relaxed);
    }
}
