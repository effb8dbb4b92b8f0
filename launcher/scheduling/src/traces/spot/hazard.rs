//! Made-up histories: each zone is calm or tight by a two-state Markov chain, and its slots come and go together.
//!
//! While a zone is calm, a lost slot is won back at `recoveries_per_hour`. Zones turn tight at `bursts_per_hour`; then
//! each slot is lost with probability `correlation` at once, and others follow at `losses_per_hour`; nothing is won back
//! until the zone is calm again, after `1 / calms_per_hour` on average. So losses come in bursts and are correlated
//! inside a zone; zones with different seeds are independent of each other.

use hcrun_protocol::prng::Prng;
use hcrun_protocol::time::{Span, Time};

use super::{Flip, History, SpotError};

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Hazard {
    pub bursts_per_hour: f64,
    pub calms_per_hour: f64,
    /// Of each slot while the zone is tight.
    pub losses_per_hour: f64,
    /// Of each slot while the zone is calm.
    pub recoveries_per_hour: f64,
    /// Share of slots that the beginning of a burst takes.
    pub correlation: f64,
}

impl Hazard {
    /// A zone of single slots that are up for `availability` of the time and lost `losses` times an hour that they are up.
    pub fn of_zone(availability: f64, losses: f64) -> Hazard {
        let calms_per_hour = losses * availability / (1.0 - availability).max(1e-6);
        Hazard {
            bursts_per_hour: losses,
            calms_per_hour,
            losses_per_hour: 0.0,
            // Faster than anything else: a calm zone has capacity.
            recoveries_per_hour: 60.0,
            correlation: 1.0,
        }
    }

    /// # Errors
    /// If nothing is ever up, or there are too many slots.
    pub fn history(&self, slots: u32, length: Span, seed: u64) -> Result<History, SpotError> {
        let mut prng = Prng::keyed(&[seed, 0x5b07]);
        let calm_share = self.calms_per_hour / (self.calms_per_hour + self.bursts_per_hour).max(1e-12);
        let mut calm = prng.uniform() < calm_share;
        let first = vec![calm; slots as usize];
        let (mut up, mut flips, mut now) = (first.clone(), Vec::new(), 0.0);
        let hours = length.as_secs_f64() / 3_600.0;
        while now < hours {
            let turn = if calm { self.bursts_per_hour } else { self.calms_per_hour };
            let each = if calm { self.recoveries_per_hour } else { self.losses_per_hour };
            let movable: Vec<u32> = (0..slots).filter(|slot| up[*slot as usize] != calm).collect();
            let all = turn + each * movable.len() as f64;
            now += -libm::log(1.0 - prng.uniform()) / all.max(1e-12);
            let at = moment(now);
            let mut flip = |slot: u32, to: bool| {
                up[slot as usize] = to;
                flips.push(Flip { at, slot, up: to });
            };
            let draw = prng.uniform() * all;
            if draw >= turn {
                let chosen = usize::try_from(prng.below(movable.len() as u64)).unwrap_or(0);
                flip(movable[chosen], calm);
                continue;
            }
            calm = !calm;
            if !calm {
                let held: Vec<u32> = (0..slots).filter(|slot| !movable.contains(slot)).collect();
                held.into_iter()
                    .filter(|_| prng.uniform() < self.correlation)
                    .for_each(|slot| flip(slot, false));
            }
        }
        History::new(length, first, flips)
    }
}

fn moment(hours: f64) -> Time {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "saturates; hours are positive"
    )]
    Time((hours * 3.6e9) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_is_up_as_long_as_it_says() {
        for (availability, losses) in [(0.88, 0.16), (0.45, 0.6), (0.17, 1.39)] {
            let hazard = Hazard::of_zone(availability, losses);
            let shares: Vec<f64> = (0..20)
                .map(|seed| hazard.history(1, Span::from_secs(3_600 * 1_000), seed).unwrap().availability(1))
                .collect();
            let mean = shares.iter().sum::<f64>() / shares.len() as f64;
            assert!((mean - availability).abs() < 0.04, "{mean} instead of {availability}");
        }
    }

    #[test]
    fn slots_of_a_zone_are_lost_together() {
        let hazard = Hazard { losses_per_hour: 0.5, correlation: 0.7, ..Hazard::of_zone(0.7, 0.2) };
        let history = hazard.history(8, Span::from_secs(3_600 * 1_000), 3).unwrap();
        let (all, one) = (history.availability(8), history.availability(1));
        // Eight independent slots that are up for 0.7 of the time each would all be up for 0.06 of it.
        assert!(all > 0.5 && one < 0.95, "all {all}, one {one}");
        assert_eq!(
            hazard.history(8, Span::from_secs(9_000_000), 3),
            hazard.history(8, Span::from_secs(9_000_000), 3)
        );
    }
}
