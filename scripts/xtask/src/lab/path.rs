//! The way between two access links, in one direction: delay, jitter and loss.

use std::time::Duration;

use hcrun_protocol::Prng;

/// Draws from a generator of its own, so that what is lost depends on the packets of this direction alone.
pub(super) struct Path {
    link: Link,
    prng: Prng,
    last_arrival: Duration,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Link {
    pub(super) delay: Duration,
    /// Each packet takes up to this much longer, uniformly.
    pub(super) jitter: Duration,
    /// Share of the packets, 0 to 1.
    pub(super) loss: f64,
    /// Whether jitter may let a packet overtake another one.
    pub(super) reorder: bool,
}

impl Path {
    pub(super) fn new(link: Link, prng: Prng) -> Path {
        Path { link, prng, last_arrival: Duration::ZERO }
    }

    /// When a packet arrives that leaves at `departure`. None where it is lost.
    pub(super) fn travel(&mut self, departure: Duration) -> Option<Duration> {
        // Both are drawn for every packet: another jitter does not change which packets are lost.
        let (loss, jitter) = (self.prng.uniform(), self.prng.uniform());
        if loss < self.link.loss {
            return None;
        }
        let arrival = departure + self.link.delay + self.link.jitter.mul_f64(jitter);
        if self.link.reorder {
            return Some(arrival);
        }
        self.last_arrival = self.last_arrival.max(arrival);
        Some(self.last_arrival)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXACT: Link =
        Link { delay: Duration::from_millis(20), jitter: Duration::ZERO, loss: 0.0, reorder: false };
    const ROUGH: Link = Link { jitter: Duration::from_millis(5), loss: 0.1, ..EXACT };

    fn arrivals(link: Link, seed: u64) -> Vec<Option<Duration>> {
        let mut path = Path::new(link, Prng::new(seed));
        (0..10_000).map(|i| path.travel(Duration::from_micros(60 * i))).collect()
    }

    #[test]
    fn delay_is_exact_without_jitter() {
        for (i, arrival) in (0..).zip(arrivals(EXACT, 1)) {
            assert_eq!(arrival, Some(Duration::from_micros(60 * i + 20_000)));
        }
    }

    #[test]
    fn same_seed_same_drops_whatever_the_jitter() {
        let lost = |link, seed| arrivals(link, seed).iter().map(Option::is_none).collect::<Vec<_>>();
        assert_eq!(arrivals(ROUGH, 7), arrivals(ROUGH, 7));
        assert_eq!(lost(ROUGH, 7), lost(Link { jitter: Duration::ZERO, ..ROUGH }, 7));
        assert_ne!(lost(ROUGH, 7), lost(ROUGH, 8));
        let count = lost(ROUGH, 7).iter().filter(|lost| **lost).count();
        assert!((900..1100).contains(&count), "{count} of 10,000 lost at 10 %");
    }

    #[test]
    fn jitter_keeps_order_unless_told_otherwise() {
        let sorted = |link| arrivals(link, 3).into_iter().flatten().is_sorted();
        assert!(sorted(ROUGH));
        assert!(!sorted(Link { reorder: true, ..ROUGH }));
    }

    #[test]
    fn jitter_only_ever_adds() {
        for (i, arrival) in (0..).zip(arrivals(Link { loss: 0.0, reorder: true, ..ROUGH }, 5)) {
            let added = arrival.unwrap() - Duration::from_micros(60 * i + 20_000);
            assert!(added <= ROUGH.jitter);
        }
    }
}
