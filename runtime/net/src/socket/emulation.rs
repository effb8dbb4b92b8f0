//! What an emulated link does to packets, as a pure function of time and a seed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hcrun_protocol::{BitsPerSec, Prng, Span, Time};

/// A link in one direction: everything that one socket sends passes through it.
#[derive(Debug, Clone)]
pub struct Emulation {
    pub seed: u64,
    /// From the sender to the receiver.
    pub delay: Span,
    /// Up to so much more, drawn for each packet; packets stay in order.
    pub jitter: Span,
    /// Without one packets take no time to be sent.
    pub rate: Option<BitsPerSec>,
    /// Packets that find more bytes than this waiting to be sent are dropped.
    pub queue_bytes: usize,
    /// Shares of packets, between 0 and 1: lost, sent twice, delayed behind later ones.
    pub loss: f64,
    pub repeat: f64,
    pub reorder: f64,
    /// Nothing passes while it is set.
    pub cut: Cut,
}

/// Cuts an emulated link, from any thread.
#[derive(Debug, Clone, Default)]
pub struct Cut(Arc<AtomicBool>);

impl Cut {
    pub fn set(&self, cut: bool) {
        self.0.store(cut, Ordering::Relaxed);
    }

    fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Default for Emulation {
    /// A link that changes nothing.
    fn default() -> Emulation {
        Emulation {
            seed: 1,
            delay: Span(0),
            jitter: Span(0),
            rate: None,
            queue_bytes: usize::MAX,
            loss: 0.0,
            repeat: 0.0,
            reorder: 0.0,
            cut: Cut::default(),
        }
    }
}

/// How much later than its place a reordered packet comes.
const REORDER_BY: Span = Span(3_000);

/// The link's state.
#[derive(Debug)]
pub(super) struct Emulator {
    settings: Emulation,
    prng: Prng,
    /// When the last packet that was taken has been sent.
    sent_at: Time,
    /// When the last packet in order arrives.
    arrived_at: Time,
    /// Beyond whole microseconds, in bytes times 8,000,000.
    remainder: u64,
}

impl Emulator {
    pub(super) fn new(settings: Emulation) -> Emulator {
        let prng = Prng::keyed(&[settings.seed]);
        Emulator { settings, prng, sent_at: Time::ZERO, arrived_at: Time::ZERO, remainder: 0 }
    }

    /// When copies of a packet of so many bytes, sent now, arrive: nowhere, once or twice.
    pub(super) fn pass(&mut self, now: Time, bytes: usize) -> Vec<Time> {
        // Drawn for every packet, so that the fates of later ones do not depend on settings.
        let draws = [(); 4].map(|()| self.prng.uniform());
        let Emulation { delay, jitter, loss, repeat, reorder, .. } = self.settings;
        if self.settings.cut.is_set() || draws[0] < loss || !self.enqueue(now, bytes) {
            return Vec::new();
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "below the jitter")]
        let jitter = Span((jitter.0 as f64 * draws[3]) as u64);
        let arrives = (self.sent_at + delay + jitter).max(self.arrived_at);
        let mut copies = Vec::from([arrives]);
        if draws[2] < reorder {
            copies[0] = arrives + REORDER_BY;
        } else {
            self.arrived_at = arrives;
        }
        if draws[1] < repeat {
            copies.push(copies[0]);
        }
        copies
    }

    /// Whether the packet finds room; then it has been sent at `sent_at`.
    fn enqueue(&mut self, now: Time, bytes: usize) -> bool {
        let Some(rate) = self.settings.rate else {
            self.sent_at = now;
            return true;
        };
        if self.sent_at <= now {
            (self.sent_at, self.remainder) = (now, 0);
        }
        let waiting = rate.bytes_in(self.sent_at.since(now)).0;
        let fits = usize::try_from(waiting)
            .is_ok_and(|waiting| waiting == 0 || waiting.saturating_add(bytes) <= self.settings.queue_bytes);
        if fits {
            let scaled = bytes as u64 * 8_000_000 + self.remainder;
            self.sent_at = self.sent_at + Span(scaled / rate.0);
            self.remainder = scaled % rate.0;
        }
        fits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_kept_to_the_byte_and_the_queue_is_bounded() {
        let rate = BitsPerSec(8_000_003);
        let settings = Emulation { rate: Some(rate), delay: Span(20_000), ..Emulation::default() };
        let mut link = Emulator::new(settings.clone());
        let arrivals: Vec<Time> = (0..1_000).flat_map(|_| link.pass(Time::ZERO, 1_000)).collect();
        assert_eq!(arrivals.len(), 1_000);
        assert_eq!(arrivals[999], Time(1_000_000 * 8_000_000 / rate.0 + 20_000));

        let mut link = Emulator::new(Emulation { queue_bytes: 5_000, ..settings });
        let passed = (0..1_000).flat_map(|_| link.pass(Time::ZERO, 1_000)).count();
        assert_eq!(passed, 5);
        // When it has drained, packets pass again.
        assert_eq!(link.pass(Time(5_000), 1_000).len(), 1);
    }

    #[test]
    fn shares_of_packets_are_lost_repeated_and_reordered() {
        let settings = Emulation { loss: 0.1, repeat: 0.05, reorder: 0.02, ..Emulation::default() };
        let mut link = Emulator::new(settings.clone());
        let fates: Vec<Vec<Time>> = (0..100_000).map(|i| link.pass(Time(i * 10), 100)).collect();
        let count = |wanted: usize| fates.iter().filter(|copies| copies.len() == wanted).count();
        assert!((9_500..10_500).contains(&count(0)), "{}", count(0));
        assert!((4_000..5_000).contains(&count(2)), "{}", count(2));
        let late = (0..100_000).filter(|i| fates[*i].first().is_some_and(|at| at.0 > *i as u64 * 10));
        assert!((1_600..2_100).contains(&late.count()));
        let mut again = Emulator::new(settings);
        assert!((0..100_000).all(|i| again.pass(Time(i * 10), 100) == fates[usize::try_from(i).unwrap()]));
    }

    #[test]
    fn jitter_keeps_the_order() {
        let settings = Emulation { delay: Span(100), jitter: Span(5_000), ..Emulation::default() };
        let mut link = Emulator::new(settings);
        let arrivals: Vec<Time> = (0..1_000).flat_map(|i| link.pass(Time(i * 10), 100)).collect();
        assert!(arrivals.is_sorted());
        assert!((0..1_000).all(|i| arrivals[i].0 >= i as u64 * 10 + 100));
    }

    #[test]
    fn nothing_passes_a_cut_link() {
        let settings = Emulation::default();
        let mut link = Emulator::new(settings.clone());
        settings.cut.set(true);
        assert!(link.pass(Time(1), 10).is_empty());
        settings.cut.set(false);
        assert_eq!(link.pass(Time(2), 10), [Time(2)]);
    }
}
