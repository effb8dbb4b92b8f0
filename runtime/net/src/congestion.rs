//! Which congestion controller a link uses, and our own one for links of known rate.

use std::any::Any;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hcrun_protocol::BitsPerSec;
use hcrun_protocol::link::{Congestion, LinkSpec};
use quinn::congestion::{BbrConfig, Controller, ControllerFactory, CubicConfig};
use quinn_proto::RttEstimator;

/// What a connection of a link is made with; `lanes` connections share its rate.
pub(crate) fn factory(link: &LinkSpec, lanes: usize) -> Arc<dyn ControllerFactory + Send + Sync> {
    let bdp = link.bandwidth_delay_bytes().map(|bytes| bytes / lanes as u64);
    match (link.congestion, link.rate) {
        (Congestion::Provisioned, Some(rate)) => {
            let share = BitsPerSec((rate.0 / lanes as u64).max(1));
            let round_trip = link.round_trip.map_or(FIRST_GUESS, Duration::from);
            Arc::new(ProvisionedConfig { rate: share, round_trip })
        }
        (Congestion::Bbr, _) => {
            let mut config = BbrConfig::default();
            if let Some(bdp) = bdp {
                config.initial_window(bdp.max(INITIAL_WINDOW));
            }
            Arc::new(config)
        }
        (Congestion::Cubic | Congestion::Provisioned, _) => {
            let mut config = CubicConfig::default();
            // Half of what the link is said to hold: the rest is left to slow start.
            config.initial_window((bdp.unwrap_or(0) / 2).max(INITIAL_WINDOW));
            Arc::new(config)
        }
    }
}

/// Ten full packets of a jumbo link; RFC 9002 allows ten packets.
const INITIAL_WINDOW: u64 = 90_000;
const FIRST_GUESS: Duration = Duration::from_millis(100);

/// For links of a known rate that nobody else uses: as much is in flight as the link holds, whatever is
/// lost at random. Only a loss that lasts and exceeds [`TOLERATED_LOSS`] slows it down.
#[derive(Debug, Clone)]
struct ProvisionedConfig {
    rate: BitsPerSec,
    round_trip: Duration,
}

impl ControllerFactory for ProvisionedConfig {
    fn build(self: Arc<Self>, now: Instant, current_mtu: u16) -> Box<dyn Controller> {
        Box::new(Provisioned {
            rate: self.rate,
            round_trip: self.round_trip,
            mtu: current_mtu,
            share: 1.0,
            epoch: Epoch { began: now, acked: 0, lost: 0 },
        })
    }
}

#[derive(Debug, Clone)]
struct Provisioned {
    rate: BitsPerSec,
    /// The shortest that was seen, a guess at first.
    round_trip: Duration,
    mtu: u16,
    /// Of the rate, 1 unless the link loses more than it may.
    share: f64,
    epoch: Epoch,
}

#[derive(Debug, Clone)]
struct Epoch {
    began: Instant,
    acked: u64,
    lost: u64,
}

/// The window is so much longer than the shortest round trip: acknowledgements come in batches, and a little
/// must wait at the bottleneck for it never to idle.
const SLACK: Duration = Duration::from_millis(8);
const TOLERATED_LOSS: f64 = 0.05;
const EPOCH_ROUND_TRIPS: u32 = 10;
const SHORTEST_EPOCH: Duration = Duration::from_millis(100);
const SLOWER: f64 = 0.7;
const FASTER: f64 = 1.1;
const SMALLEST_SHARE: f64 = 0.1;

impl Provisioned {
    fn hear(&mut self, now: Instant, acked: u64, round_trip: Duration) {
        self.round_trip = round_trip;
        self.epoch.acked += acked;
        self.end_epoch(now);
    }

    fn end_epoch(&mut self, now: Instant) {
        let length = (self.round_trip * EPOCH_ROUND_TRIPS).max(SHORTEST_EPOCH);
        if now.saturating_duration_since(self.epoch.began) < length {
            return;
        }
        let all = self.epoch.acked + self.epoch.lost;
        let loss = if all == 0 { 0.0 } else { self.epoch.lost as f64 / all as f64 };
        let factor = if loss > TOLERATED_LOSS { SLOWER } else { FASTER };
        self.share = (self.share * factor).clamp(SMALLEST_SHARE, 1.0);
        self.epoch = Epoch { began: now, acked: 0, lost: 0 };
    }
}

impl Controller for Provisioned {
    fn on_ack(&mut self, now: Instant, _: Instant, bytes: u64, _: bool, rtt: &RttEstimator) {
        self.hear(now, bytes, rtt.min());
    }

    fn on_congestion_event(&mut self, now: Instant, _: Instant, _: bool, lost_bytes: u64) {
        self.epoch.lost += lost_bytes;
        self.end_epoch(now);
    }

    fn on_mtu_update(&mut self, new_mtu: u16) {
        self.mtu = new_mtu;
    }

    fn window(&self) -> u64 {
        let micros = (self.round_trip + SLACK).as_micros();
        let full = u128::from(self.rate.0) * micros / 8_000_000;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "below the window")]
        let window = (full as f64 * self.share) as u64;
        window.max(10 * u64::from(self.mtu))
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(self.clone())
    }

    fn initial_window(&self) -> u64 {
        self.window()
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn controller(rate: u64, round_trip_ms: u64) -> Provisioned {
        let round_trip = Duration::from_millis(round_trip_ms);
        let epoch = Epoch { began: Instant::now(), acked: 0, lost: 0 };
        Provisioned { rate: BitsPerSec(rate), round_trip, mtu: 1_452, share: 1.0, epoch }
    }

    #[test]
    fn the_window_is_what_the_link_holds() {
        assert_eq!(controller(200_000_000, 40).window(), 200_000_000 / 8 * 48 / 1_000);
        assert_eq!(controller(8_000, 1).window(), 14_520);
    }

    #[test]
    fn random_loss_does_not_slow_it_down_and_lasting_loss_does() {
        let mut controller = controller(200_000_000, 40);
        let (mut now, full) = (Instant::now(), controller.window());
        for _ in 0..100 {
            now += Duration::from_millis(50);
            controller.hear(now, 99_000, Duration::from_millis(40));
            controller.on_congestion_event(now, now, false, 1_000);
        }
        assert_eq!(controller.window(), full);
        for _ in 0..100 {
            now += Duration::from_millis(50);
            controller.on_congestion_event(now, now, true, 1_000);
        }
        assert!(controller.window() < full / 2 && controller.window() >= full / 11);
    }
}
