//! How much a job has to do and how fast it does it, in integers: what is done and what is left always add up.

use std::fmt;
use std::ops::{Add, AddAssign, Sub};

use hcrun_protocol::time::Span;

/// A speed, in millionths of the speed that a job's work is stated at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rate(pub u64);

impl Rate {
    pub const ZERO: Rate = Rate(0);
    pub const ONE: Rate = Rate(1_000_000);

    /// To the nearest millionth; nothing below zero, and no rate at all from what is not a number.
    pub fn from_f64(rate: f64) -> Rate {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "saturates, and NaN gives 0"
        )]
        let millionths = (rate * 1e6 + 0.5) as u64;
        Rate(millionths)
    }

    pub fn as_f64(self) -> f64 {
        self.0 as f64 / 1e6
    }
}

/// An amount of work: microseconds at [`Rate::ONE`], in millionths of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Work(pub u128);

impl Work {
    pub const ZERO: Work = Work(0);

    /// What `rate` does in `span`.
    pub fn of(span: Span, rate: Rate) -> Work {
        Work(u128::from(span.0) * u128::from(rate.0))
    }

    /// What takes `span` at [`Rate::ONE`].
    pub fn taking(span: Span) -> Work {
        Work::of(span, Rate::ONE)
    }

    /// How long `rate` takes, to the next whole microsecond; for ever at rate zero.
    pub fn time_at(self, rate: Rate) -> Span {
        match rate.0 {
            0 => Span(u64::MAX),
            rate => Span(u64::try_from(self.0.div_ceil(u128::from(rate))).unwrap_or(u64::MAX)),
        }
    }

    /// How long it takes at [`Rate::ONE`], in seconds.
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / 1e12
    }

    pub fn saturating_sub(self, other: Work) -> Work {
        Work(self.0.saturating_sub(other.0))
    }

    /// Scaled by a factor of at least zero, to the nearest millionth of a microsecond.
    pub fn scaled(self, factor: f64) -> Work {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "saturates, and NaN gives 0"
        )]
        let scaled = (self.0 as f64 * factor + 0.5) as u128;
        Work(scaled)
    }
}

impl Add for Work {
    type Output = Work;
    fn add(self, other: Work) -> Work {
        Work(self.0 + other.0)
    }
}

impl AddAssign for Work {
    fn add_assign(&mut self, other: Work) {
        self.0 += other.0;
    }
}

impl Sub for Work {
    type Output = Work;
    fn sub(self, other: Work) -> Work {
        Work(self.0 - other.0)
    }
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1} s", self.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_done_and_what_is_left_add_up() {
        let (all, rate) = (Work::taking(Span::from_secs(10)), Rate(333_333));
        let done = Work::of(Span(7), rate);
        assert_eq!(done + (all - done), all);
        assert!(Work::of(all.time_at(rate), rate) >= all);
        assert!(Work::of(Span(all.time_at(rate).0 - 1), rate) < all);
    }

    #[test]
    fn a_rate_that_is_no_number_is_none() {
        assert_eq!(Rate::from_f64(f64::NAN), Rate::ZERO);
        assert_eq!(Rate::from_f64(-1.0), Rate::ZERO);
        assert_eq!(Work::taking(Span(1)).time_at(Rate::ZERO), Span(u64::MAX));
    }
}
