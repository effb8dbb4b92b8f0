//! State that waits to be sent. A control link may be slower than checkpoints come; then training waits for
//! the link instead of filling memory.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Payload bytes on their way to the coordinator.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    bytes: Mutex<usize>,
    less: Condvar,
}

/// A segment is taken while no more than this waits: several megabytes keep any link busy.
const MAX_WAITING_BYTES: usize = 32 << 20;

impl Backlog {
    /// Waits for room, or until `ended`; whoever makes that true has to call [`Self::wake`].
    pub(super) fn add(&self, bytes: usize, ended: impl Fn() -> bool) {
        let mut waiting = self.lock();
        while *waiting > MAX_WAITING_BYTES && !ended() {
            waiting = self.less.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
        *waiting += bytes;
    }

    pub(super) fn remove(&self, bytes: usize) {
        *self.lock() -= bytes;
        self.less.notify_all();
    }

    pub(super) fn wake(&self) {
        // Under the lock, so that a waiter is either before its check or in its wait.
        let _waiting = self.lock();
        self.less.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, usize> {
        self.bytes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[test]
    fn a_full_backlog_waits_for_room_or_the_end() {
        let (backlog, ended) = (Backlog::default(), AtomicBool::new(false));
        let is_ended = || ended.load(Ordering::SeqCst);
        backlog.add(MAX_WAITING_BYTES + 1, is_ended);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| backlog.add(1, is_ended));
            backlog.remove(MAX_WAITING_BYTES + 1);
            waiting.join().unwrap();
            backlog.add(MAX_WAITING_BYTES, is_ended);
            let waiting = scope.spawn(|| backlog.add(1, is_ended));
            ended.store(true, Ordering::SeqCst);
            backlog.wake();
            waiting.join().unwrap();
        });
        assert_eq!(*backlog.lock(), MAX_WAITING_BYTES + 2);
    }
}
