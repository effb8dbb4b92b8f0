//! A deadline that holds whatever the driver does.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Instant;

/// Dropped, nothing happens at the deadline.
pub(super) struct Watch {
    _sender: mpsc::Sender<()>,
}

impl Watch {
    /// Calls `late` at `end`, on a thread of its own.
    pub(super) fn new(end: Instant, late: impl FnOnce() + Send + 'static) -> Watch {
        let (sender, receiver) = mpsc::channel();
        thread::spawn(move || {
            let left = end.saturating_duration_since(Instant::now());
            if receiver.recv_timeout(left) == Err(RecvTimeoutError::Timeout) {
                late();
            }
        });
        Watch { _sender: sender }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_calls_at_its_end_though_nothing_else_moves() {
        let (sender, called) = mpsc::channel();
        let watch = Watch::new(Instant::now(), move || {
            let _ = sender.send(());
        });
        assert_eq!(called.recv(), Ok(()));
        drop(watch);
    }

    #[test]
    fn it_does_not_call_once_it_is_dropped() {
        let (sender, called) = mpsc::channel();
        let far = Instant::now() + std::time::Duration::from_secs(3600);
        drop(Watch::new(far, move || {
            let _ = sender.send(());
        }));
        // The thread is gone, and what it would have called with it.
        assert_eq!(called.recv(), Err(mpsc::RecvError));
    }
}
