//! What leaves a zone costs by tiers: each tier's price holds for the bytes inside it alone.

use std::collections::BTreeMap;

use super::money::MicroUsd;

/// Bytes of the gigabyte that providers bill.
pub const BILLED_GB: u64 = 1 << 30;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tier {
    /// Bytes of a month at which the next tier begins; none: the last one.
    pub up_to: Option<u64>,
    /// Of [`BILLED_GB`] bytes.
    pub per_gb: MicroUsd,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TierError {
    #[error("there are no tiers")]
    None,
    #[error("tier {0} has no end, but another one follows")]
    OpenInside(usize),
    #[error("tier {0} ends where the one before it ends, or earlier")]
    NotRising(usize),
    #[error("the last tier has an end: leave `up_to_gb` out there")]
    Closed,
}

/// Tiers of one month, lowest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tiers(Vec<Tier>);

impl Tiers {
    /// # Errors
    /// If ends do not rise, or the last tier is not the only one without an end.
    pub fn new(tiers: Vec<Tier>) -> Result<Tiers, TierError> {
        let Some((last, rest)) = tiers.split_last() else { return Err(TierError::None) };
        let mut before = 0;
        for (tier, number) in rest.iter().zip(1..) {
            let end = tier.up_to.ok_or(TierError::OpenInside(number))?;
            if end <= before {
                return Err(TierError::NotRising(number));
            }
            before = end;
        }
        if last.up_to.is_some() { Err(TierError::Closed) } else { Ok(Tiers(tiers)) }
    }

    pub fn tiers(&self) -> &[Tier] {
        &self.0
    }

    /// Of a month's first `bytes`.
    pub fn cost(&self, bytes: u64) -> MicroUsd {
        let (mut begin, mut all) = (0, 0u128);
        for tier in &self.0 {
            let end = tier.up_to.unwrap_or(u64::MAX).min(bytes);
            all += u128::from(end.saturating_sub(begin)) * u128::from(tier.per_gb.0);
            begin = end.max(begin);
        }
        // One rounding for all tiers keeps costs monotone.
        MicroUsd(u64::try_from((all + u128::from(BILLED_GB) / 2) / u128::from(BILLED_GB)).unwrap_or(u64::MAX))
    }

    /// Of `bytes` more, after `before` of the same month.
    pub fn cost_after(&self, before: u64, bytes: u64) -> MicroUsd {
        MicroUsd(self.cost(before.saturating_add(bytes)).0 - self.cost(before).0)
    }
}

/// Bytes so far, by account and month: tiers begin anew each month and are shared by all jobs of an account.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Meter(BTreeMap<(String, u32), u64>);

impl Meter {
    /// Charges `bytes` to a month, counted from whenever the caller likes.
    pub fn charge(&mut self, tiers: &Tiers, account: &str, month: u32, bytes: u64) -> MicroUsd {
        let so_far = self.0.entry((account.to_owned(), month)).or_default();
        let cost = tiers.cost_after(*so_far, bytes);
        *so_far = so_far.saturating_add(bytes);
        cost
    }
}

#[cfg(test)]
mod tests {
    use hcrun_protocol::prng::Prng;

    use super::*;

    fn tiers(prices: &[(Option<u64>, f64)]) -> Tiers {
        let tier = |(tb, usd): &(Option<u64>, f64)| Tier {
            up_to: tb.map(|tb| (tb * BILLED_GB).saturating_mul(1_024)),
            per_gb: MicroUsd::from_usd(*usd).unwrap(),
        };
        Tiers::new(prices.iter().map(tier).collect()).unwrap()
    }

    fn aws() -> Tiers {
        tiers(&[(Some(10), 0.09), (Some(50), 0.085), (Some(150), 0.07), (None, 0.05)])
    }

    /// Worked out by hand: the excess of a tier is billed from the tier's own beginning.
    #[test]
    fn excess_is_billed_in_its_own_tier() {
        let cost = |tb: u64| aws().cost(tb * 1_024 * BILLED_GB).as_usd();
        for (tb, usd) in [(10, 921.6), (49, 4_316.16), (60, 5_120.0), (200, 14_131.2)] {
            assert!((cost(tb) - usd).abs() < 1e-6, "{tb} TB: {} instead of {usd}", cost(tb));
        }
    }

    #[test]
    fn cost_is_monotone_continuous_and_bends_as_listed() {
        let mut prng = Prng::new(5);
        let rising = tiers(&[(Some(1), 0.0), (Some(3), 0.02), (None, 0.08)]);
        for (tiers, concave) in [(aws(), true), (rising, false)] {
            let most = tiers.tiers().iter().map(|tier| tier.per_gb.0).max().unwrap();
            for _ in 0..2_000 {
                let (at, step) = (prng.below(300 << 40), 1 + prng.below(1 << 40));
                let [low, middle, high] = [0, 1, 2].map(|k| tiers.cost(at + k * step).0);
                assert!(low <= middle && middle <= high, "monotone at {at} + {step}");
                let limit = u128::from(most) * u128::from(step) / u128::from(BILLED_GB) + 1;
                assert!(u128::from(middle - low) <= limit, "continuous at {at} + {step}");
                // Roundings of three amounts.
                let (first, second) = (middle - low, high - middle);
                assert!(if concave { second <= first + 2 } else { second + 2 >= first }, "{at} + {step}");
            }
        }
    }

    #[test]
    fn parts_of_a_month_cost_what_the_month_costs() {
        let (tiers, mut meter, mut prng) = (aws(), Meter::default(), Prng::new(9));
        let parts: Vec<u64> = (0..500).map(|_| prng.below(1 << 39)).collect();
        let charged: MicroUsd = parts.iter().map(|bytes| meter.charge(&tiers, "us", 3, *bytes)).sum();
        assert_eq!(charged, tiers.cost(parts.iter().sum()));
        assert_eq!(meter.charge(&tiers, "us", 4, 1 << 40), tiers.cost(1 << 40));
    }

    #[test]
    fn tiers_out_of_order_are_refused() {
        let tier = |up_to| Tier { up_to, per_gb: MicroUsd(1) };
        assert_eq!(Tiers::new(vec![]), Err(TierError::None));
        assert_eq!(Tiers::new(vec![tier(None), tier(None)]), Err(TierError::OpenInside(1)));
        assert_eq!(Tiers::new(vec![tier(Some(2)), tier(Some(2)), tier(None)]), Err(TierError::NotRising(2)));
        assert_eq!(Tiers::new(vec![tier(Some(2))]), Err(TierError::Closed));
    }
}
