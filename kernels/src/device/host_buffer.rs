//! Memory of the host that a device copies from and to beside its work.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What a device allocates for [`HostBuffer`].
pub trait HostMemory: Send {
    fn bytes(&self) -> usize;
    /// # Panics
    /// If the range is not inside.
    fn range(&self, range: Range<usize>) -> &[u8];
    /// # Panics
    /// If the range is not inside.
    fn range_mut(&mut self, range: Range<usize>) -> &mut [u8];
}

/// A copy that was started. Copies of a device end in the order in which they started, as far as anyone can see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(u64);

/// For devices: numbers copies, and knows which have ended. Atomic only so that host memory may go to another thread
/// together with its device.
#[derive(Debug, Default)]
pub struct Tickets {
    issued: AtomicU64,
    ended: Arc<AtomicU64>,
}

impl Tickets {
    pub fn issue(&self) -> Ticket {
        Ticket(self.issued.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// All copies have ended.
    pub fn end_all(&self) {
        self.ended.store(self.issued.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// This copy has ended, and all before it.
    pub fn end(&self, ticket: Ticket) {
        self.ended.fetch_max(ticket.0, Ordering::Relaxed);
    }
}

/// Host memory, parts of which are busy while the device copies.
pub struct HostBuffer {
    memory: Box<dyn HostMemory>,
    ended: Arc<AtomicU64>,
    /// Copies of which it is not known that they have ended.
    busy: Vec<(Ticket, Range<usize>)>,
}

impl HostBuffer {
    pub fn new(memory: Box<dyn HostMemory>, tickets: &Tickets) -> HostBuffer {
        HostBuffer { memory, ended: Arc::clone(&tickets.ended), busy: Vec::new() }
    }

    pub fn bytes(&self) -> usize {
        self.memory.bytes()
    }

    /// # Panics
    /// If the range is not inside, or busy.
    pub fn read(&self, range: Range<usize>) -> &[u8] {
        self.assert_free(&range);
        self.memory.range(range)
    }

    /// # Panics
    /// As [`Self::read`].
    pub fn write(&mut self, range: Range<usize>) -> &mut [u8] {
        self.assert_free(&range);
        self.memory.range_mut(range)
    }

    /// For devices: the range, which is busy from now on until `ticket` has ended.
    ///
    /// # Panics
    /// As [`Self::read`].
    pub fn lend(&mut self, range: Range<usize>, ticket: Ticket) -> &mut [u8] {
        self.assert_free(&range);
        let ended = self.ended.load(Ordering::Relaxed);
        self.busy.retain(|(ticket, _)| ticket.0 > ended);
        self.busy.push((ticket, range.clone()));
        self.memory.range_mut(range)
    }

    fn assert_free(&self, range: &Range<usize>) {
        assert!(range.start <= range.end && range.end <= self.bytes(), "{range:?} of {} bytes", self.bytes());
        let ended = self.ended.load(Ordering::Relaxed);
        let busy = self
            .busy
            .iter()
            .find(|(ticket, busy)| ticket.0 > ended && busy.start < range.end && range.start < busy.end);
        assert!(busy.is_none(), "{range:?} is used before a copy was waited for: {busy:?}");
    }
}

impl fmt::Debug for HostBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HostBuffer({} bytes, {} copies)", self.bytes(), self.busy.len())
    }
}
