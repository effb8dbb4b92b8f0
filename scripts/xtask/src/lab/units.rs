//! Rates, times and shares as the command line writes them.

use std::time::Duration;

use anyhow::{Context, bail};
use serde::Serialize;

/// Of whole IP packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) struct BitsPerSec(pub(super) u64);

pub(super) fn rate(text: &str) -> anyhow::Result<BitsPerSec> {
    let units = [("bit", 1), ("kbit", 1_000), ("mbit", 1_000_000), ("gbit", 1_000_000_000)];
    number(text, &units, "200mbit").map(BitsPerSec)
}

pub(super) fn time(text: &str) -> anyhow::Result<Duration> {
    let units = [("us", 1), ("ms", 1_000), ("s", 1_000_000)];
    number(text, &units, "40ms").map(Duration::from_micros)
}

/// A percentage as a share from 0 to 1.
pub(super) fn share(text: &str) -> anyhow::Result<f64> {
    let percent = text.strip_suffix('%').and_then(|number| number.parse::<f64>().ok());
    match percent {
        Some(percent) if (0.0..=100.0).contains(&percent) => Ok(percent / 100.0),
        _ => bail!("`{text}` is no share from 0% to 100%; write it such as `0.1%`"),
    }
}

fn number(text: &str, units: &[(&str, u64)], example: &str) -> anyhow::Result<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (digits, unit) = text.split_at(digits);
    let known = || units.iter().map(|(unit, _)| *unit).collect::<Vec<_>>().join(", ");
    let remedy =
        || format!("`{text}` is no whole number with one of {}; write it such as `{example}`", known());
    let factor = units.iter().find(|(name, _)| *name == unit).with_context(remedy)?.1;
    let number: u64 = digits.parse().ok().with_context(remedy)?;
    number.checked_mul(factor).with_context(|| format!("`{text}` is too large"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_with_units_are_read() {
        assert_eq!(rate("200mbit").unwrap(), BitsPerSec(200_000_000));
        assert_eq!(rate("9600bit").unwrap(), BitsPerSec(9_600));
        assert_eq!(time("40ms").unwrap(), Duration::from_millis(40));
        assert_eq!(time("1500us").unwrap(), Duration::from_micros(1500));
        assert_eq!(share("0.1%").unwrap(), 0.001);
        assert_eq!(share("0%").unwrap(), 0.0);
    }

    #[test]
    fn an_error_says_what_to_write() {
        let error = rate("200MB").unwrap_err().to_string();
        let expected =
            "`200MB` is no whole number with one of bit, kbit, mbit, gbit; write it such as `200mbit`";
        assert_eq!(error, expected);
        for bad in ["", "mbit", "200", "1.5mbit", "-1mbit", "99999999999gbit"] {
            assert!(rate(bad).is_err(), "{bad:?} was taken for a rate");
        }
        for bad in ["", "1", "101%", "-1%", "NaN%", "%"] {
            assert!(share(bad).is_err(), "{bad:?} was taken for a share");
        }
        assert!(time("40").is_err());
    }
}
