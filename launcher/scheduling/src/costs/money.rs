//! Dollars in integers: what parts cost and what all of them cost always add up.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign};

use hcrun_protocol::time::Span;

/// Millionths of a US dollar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, serde::Serialize)]
pub struct MicroUsd(pub u64);

/// A price of one device, in millionths of a US dollar for an hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, serde::Serialize)]
pub struct PerHour(pub u64);

/// Highest amount of a table, in dollars: what is above it is a slip of the pen.
pub const MAX_USD: f64 = 1e6;

impl MicroUsd {
    pub const ZERO: MicroUsd = MicroUsd(0);

    /// To the nearest millionth; none for what is negative, no number, or above [`MAX_USD`].
    pub fn from_usd(usd: f64) -> Option<MicroUsd> {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "within the range just checked"
        )]
        (0.0..=MAX_USD).contains(&usd).then(|| MicroUsd((usd * 1e6).round() as u64))
    }

    pub fn as_usd(self) -> f64 {
        self.0 as f64 / 1e6
    }

    /// `parts / whole` of this amount, to the nearest millionth of a dollar.
    pub(crate) fn share(self, parts: u128, whole: u128) -> MicroUsd {
        let all = u128::from(self.0) * parts + whole / 2;
        MicroUsd(u64::try_from(all / whole).unwrap_or(u64::MAX))
    }
}

impl PerHour {
    /// To the nearest millionth; none for what is negative, no number, or above [`MAX_USD`].
    pub fn from_usd(usd: f64) -> Option<PerHour> {
        MicroUsd::from_usd(usd).map(|amount| PerHour(amount.0))
    }

    /// For so many device microseconds, to the nearest millionth of a dollar.
    pub fn over(self, device_micros: u128) -> MicroUsd {
        MicroUsd(self.0).share(device_micros, HOUR_MICROS)
    }

    /// In dollars.
    pub fn as_usd(self) -> f64 {
        self.0 as f64 / 1e6
    }
}

impl Add for MicroUsd {
    type Output = MicroUsd;
    fn add(self, other: MicroUsd) -> MicroUsd {
        MicroUsd(self.0.saturating_add(other.0))
    }
}

impl AddAssign for MicroUsd {
    fn add_assign(&mut self, other: MicroUsd) {
        *self = *self + other;
    }
}

impl Sum for MicroUsd {
    fn sum<I: Iterator<Item = MicroUsd>>(amounts: I) -> MicroUsd {
        amounts.fold(MicroUsd::ZERO, Add::add)
    }
}

impl fmt::Display for MicroUsd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "${:.2}", self.as_usd())
    }
}

/// How held time becomes billed time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Granularity {
    /// Time is billed in whole steps of this length.
    pub step: Span,
    /// And never less than this.
    pub minimum: Span,
}

impl Default for Granularity {
    /// Exactly what was held.
    fn default() -> Granularity {
        Granularity { step: Span(1), minimum: Span(0) }
    }
}

impl Granularity {
    pub fn billed(self, held: Span) -> Span {
        let step = self.step.0.max(1);
        Span(held.0.max(self.minimum.0).div_ceil(step).saturating_mul(step))
    }
}

const HOUR_MICROS: u128 = 3_600_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_billed_in_whole_steps() {
        let by_minute = Granularity { step: Span::from_secs(60), minimum: Span::from_secs(120) };
        let billed = |secs| by_minute.billed(Span::from_secs(secs)).0 / 1_000_000;
        assert_eq!([0, 1, 120, 121, 180].map(billed), [120, 120, 120, 180, 180]);
        assert_eq!(Granularity::default().billed(Span(7)), Span(7));
    }

    #[test]
    fn amounts_that_make_no_sense_are_none() {
        assert_eq!([-1.0, f64::NAN, 2e6].map(MicroUsd::from_usd), [None; 3]);
        assert_eq!(MicroUsd::from_usd(3.06), Some(MicroUsd(3_060_000)));
        assert_eq!(PerHour(3_060_000).over(2 * HOUR_MICROS), MicroUsd(6_120_000));
    }
}
