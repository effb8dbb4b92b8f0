//! One end of an access link: a rate, and a queue that drops at its tail.

use std::time::Duration;

use hcrun_protocol::Bytes;

use super::units::BitsPerSec;

/// Sends one byte after the other, exact over any length of time: a busy period is counted in bytes, never in rounded
/// times. `now` must not go back.
pub(super) struct Limiter {
    rate: BitsPerSec,
    queue: Bytes,
    busy_since: Duration,
    /// Of the busy period: sent, being sent and waiting.
    accepted_bytes: u64,
}

impl Limiter {
    pub(super) fn new(rate: BitsPerSec, queue: Bytes) -> Limiter {
        Limiter { rate, queue, busy_since: Duration::ZERO, accepted_bytes: 0 }
    }

    /// When the packet's last byte has left. None where the queue has no room for it.
    pub(super) fn send(&mut self, now: Duration, bytes: usize) -> Option<Duration> {
        if self.idle_at() <= now {
            (self.busy_since, self.accepted_bytes) = (now, 0);
        }
        let accepted_bytes = self.accepted_bytes + bytes as u64;
        if accepted_bytes - self.sent_bytes(now) > self.queue.0 {
            return None;
        }
        self.accepted_bytes = accepted_bytes;
        Some(self.idle_at())
    }

    fn idle_at(&self) -> Duration {
        let nanos = (u128::from(self.accepted_bytes) * BIT_NANOS).div_ceil(u128::from(self.rate.0));
        self.busy_since + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    fn sent_bytes(&self, now: Duration) -> u64 {
        let nanos = now.saturating_sub(self.busy_since).as_nanos();
        let bytes = nanos * u128::from(self.rate.0) / BIT_NANOS;
        u64::try_from(bytes).unwrap_or(u64::MAX).min(self.accepted_bytes)
    }
}

/// Bits of a byte times nanoseconds of a second.
const BIT_NANOS: u128 = 8_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    const PACKET: usize = 1500;

    #[test]
    fn rate_is_kept_to_the_byte_over_a_long_run() {
        // Neither the rate nor the packets divide the second.
        let mut limiter = Limiter::new(BitsPerSec(7_777_777), Bytes(u64::MAX));
        let sizes = [1, 40, 999, PACKET];
        let last = (0..1_000_000).filter_map(|i| limiter.send(Duration::ZERO, sizes[i % 4])).last().unwrap();
        let bytes: u128 = 250_000 * (1 + 40 + 999 + 1500);
        assert_eq!(last.as_nanos(), (bytes * 8_000_000_000).div_ceil(7_777_777));
    }

    #[test]
    fn an_idle_link_saves_nothing_up() {
        let mut limiter = Limiter::new(BitsPerSec(8_000), Bytes(4000));
        assert_eq!(limiter.send(Duration::ZERO, 1000), Some(Duration::from_secs(1)));
        assert_eq!(limiter.send(Duration::from_secs(9), 1000), Some(Duration::from_secs(10)));
        assert_eq!(limiter.send(Duration::from_secs(9), 1000), Some(Duration::from_secs(11)));
    }

    #[test]
    fn drops_exactly_when_the_queue_is_full() {
        let mut limiter = Limiter::new(BitsPerSec(8_000), Bytes(3000));
        assert!(limiter.send(Duration::ZERO, 1500).is_some());
        assert!(limiter.send(Duration::ZERO, 1500).is_some());
        assert_eq!(limiter.send(Duration::ZERO, 1), None);
        let one_byte_left = Duration::from_millis(1);
        assert_eq!(limiter.send(one_byte_left, 2), None);
        assert_eq!(limiter.send(one_byte_left, 1), Some(Duration::from_millis(3001)));
    }

    #[test]
    fn a_dropped_packet_takes_no_time() {
        let mut limiter = Limiter::new(BitsPerSec(8_000), Bytes(1000));
        assert_eq!(limiter.send(Duration::ZERO, 1000), Some(Duration::from_secs(1)));
        assert_eq!(limiter.send(Duration::from_millis(999), 1000), None);
        assert_eq!(limiter.send(Duration::from_secs(1), 1000), Some(Duration::from_secs(2)));
    }
}
