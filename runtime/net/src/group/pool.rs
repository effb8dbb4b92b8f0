//! Memory of payloads on their way out, used again as soon as QUIC has let go of it: still in the cache, and
//! never handed back to the system in between.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

/// Shared with the payloads that came from it.
#[derive(Debug, Clone, Default)]
pub(super) struct Pool {
    free: Arc<Mutex<Vec<Vec<u8>>>>,
}

/// More than are on their way at a time; what a burst took beyond that is given back.
const KEPT: usize = 64;

struct Payload {
    bytes: Vec<u8>,
    pool: Pool,
}

impl Pool {
    /// An empty vector.
    pub(super) fn take(&self) -> Vec<u8> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default()
    }

    /// The bytes, whose memory comes back here when nobody holds them any more.
    pub(super) fn lend(&self, bytes: Vec<u8>) -> Bytes {
        Bytes::from_owner(Payload { bytes, pool: self.clone() })
    }
}

impl AsRef<[u8]> for Payload {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Payload {
    fn drop(&mut self) {
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.clear();
        let mut free = self.pool.free.lock().unwrap_or_else(PoisonError::into_inner);
        if free.len() < KEPT {
            free.push(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_comes_back_when_the_last_holder_is_gone() {
        let pool = Pool::default();
        let mut bytes = pool.take();
        bytes.extend_from_slice(&[1, 2, 3]);
        let place = bytes.as_ptr();
        let lent = pool.lend(bytes);
        let part = lent.slice(1..);
        drop(lent);
        assert_eq!(part[..], [2, 3]);
        assert!(pool.take().is_empty());
        drop(part);
        let again = pool.take();
        assert_eq!((again.len(), again.as_ptr()), (0, place));
    }
}
