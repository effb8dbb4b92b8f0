//! Quantities with their unit in the type.

use std::fmt;
use std::ops::Range;

use serde::{Deserialize, Serialize};

/// A number of bytes; read and written as `"1MiB"`, `"64 KiB"` or a bare number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(try_from = "BytesText", into = "String")]
pub struct Bytes(pub u64);

#[derive(Deserialize)]
#[serde(untagged)]
enum BytesText {
    Number(u64),
    Text(String),
}

/// Why a text is not a size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a size: write a whole number with B, KiB, MiB or GiB, such as \"1MiB\"")]
pub struct BytesError(String);

const UNITS: [(&str, u64); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

impl Bytes {
    pub fn parse(text: &str) -> Result<Bytes, BytesError> {
        scaled(text, &UNITS).map(Bytes).ok_or_else(|| BytesError(text.to_owned()))
    }
}

impl TryFrom<BytesText> for Bytes {
    type Error = BytesError;
    fn try_from(text: BytesText) -> Result<Bytes, BytesError> {
        match text {
            BytesText::Number(number) => Ok(Bytes(number)),
            BytesText::Text(text) => Bytes::parse(&text),
        }
    }
}

impl From<Bytes> for String {
    /// Exact, in the largest unit that divides: what is written reads back equal.
    fn from(bytes: Bytes) -> String {
        let exact = UNITS.iter().find(|(_, factor)| bytes.0 >= *factor && bytes.0.is_multiple_of(*factor));
        let (unit, factor) = exact.unwrap_or(&UNITS[3]);
        format!("{}{unit}", bytes.0 / factor)
    }
}

/// A rate of data; read and written as `"200Mbit"`, `"10 Gbit"` or a bare number of bits per second.
///
/// Control messages carry the number: their encoding does not say what comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BitsPerSec(pub u64);

/// Why a text is not a rate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a rate: write a whole number with bit, kbit, Mbit or Gbit, such as \"200Mbit\"")]
pub struct RateError(String);

const RATE_UNITS: [(&str, u64); 4] =
    [("Gbit", 1_000_000_000), ("Mbit", 1_000_000), ("kbit", 1_000), ("bit", 1)];

impl BitsPerSec {
    pub fn parse(text: &str) -> Result<BitsPerSec, RateError> {
        let number = scaled(text, &RATE_UNITS).filter(|bits| *bits > 0);
        number.map(BitsPerSec).ok_or_else(|| RateError(text.to_owned()))
    }

    /// What passes in a time, in whole bytes.
    pub fn bytes_in(self, time: crate::time::Span) -> Bytes {
        let bytes = u128::from(self.0) * u128::from(time.0) / 8_000_000;
        Bytes(u64::try_from(bytes).unwrap_or(u64::MAX))
    }

    /// How long so many bytes take, rounded up to a microsecond.
    pub fn time_of(self, bytes: u64) -> crate::time::Span {
        let micros = (u128::from(bytes) * 8_000_000).div_ceil(u128::from(self.0.max(1)));
        crate::time::Span(u64::try_from(micros).unwrap_or(u64::MAX))
    }
}

impl Serialize for BitsPerSec {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            String::from(*self).serialize(serializer)
        } else {
            self.0.serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for BitsPerSec {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<BitsPerSec, D::Error> {
        if deserializer.is_human_readable() {
            BitsPerSec::try_from(BytesText::deserialize(deserializer)?).map_err(serde::de::Error::custom)
        } else {
            u64::deserialize(deserializer).map(BitsPerSec)
        }
    }
}

impl TryFrom<BytesText> for BitsPerSec {
    type Error = RateError;
    fn try_from(text: BytesText) -> Result<BitsPerSec, RateError> {
        match text {
            BytesText::Number(0) => Err(RateError("0".to_owned())),
            BytesText::Number(number) => Ok(BitsPerSec(number)),
            BytesText::Text(text) => BitsPerSec::parse(&text),
        }
    }
}

impl From<BitsPerSec> for String {
    fn from(rate: BitsPerSec) -> String {
        let exact = RATE_UNITS.iter().find(|(_, factor)| rate.0.is_multiple_of(*factor));
        let (unit, factor) = exact.unwrap_or(&RATE_UNITS[3]);
        format!("{}{unit}", rate.0 / factor)
    }
}

impl fmt::Display for BitsPerSec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from(*self))
    }
}

/// A whole number, then a unit; a bare number counts in the last unit.
fn scaled(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let trimmed = text.trim();
    let (digits, factor) = units
        .iter()
        .find_map(|(unit, factor)| trimmed.strip_suffix(unit).map(|digits| (digits.trim_end(), *factor)))
        .unwrap_or((trimmed, 1));
    let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    let number: u64 = digits.parse().ok().filter(|_| plain)?;
    number.checked_mul(factor)
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match UNITS.iter().find(|(_, factor)| *factor > 1 && self.0 >= *factor) {
            Some((unit, factor)) => write!(f, "{:.1} {unit}", self.0 as f64 / *factor as f64),
            None => write!(f, "{} B", self.0),
        }
    }
}

/// Elements of a chunk: the grain of bucket and shard bounds, norm partials, digests and codec blocks.
///
/// A function of the arena's length alone, so that every rank and every shard count agrees.
pub fn chunk_elems(arena_elems: usize) -> usize {
    if arena_elems < 4 << 20 { 1 << 10 } else { 1 << 16 }
}

/// `elems` rounded up to whole chunks; the tail of an arena is zero padding.
pub fn padded_elems(elems: usize) -> usize {
    elems.next_multiple_of(chunk_elems(elems))
}

/// Cuts `0..elems` into buckets of about `bucket_bytes` of f32, bounds at multiples of the chunk.
///
/// In arena order; backward finishes the last bucket first. Never empty for `elems > 0`.
pub fn bucket_ranges(elems: usize, bucket_bytes: Bytes) -> Vec<Range<usize>> {
    let chunk = chunk_elems(elems);
    let wanted = usize::try_from(bucket_bytes.0 / 4).unwrap_or(usize::MAX);
    let bucket = (wanted / chunk).max(1) * chunk;
    (0..elems).step_by(bucket).map(|start| start..(start + bucket).min(elems)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_and_written_with_their_unit() {
        for (text, bits, again) in [
            ("200Mbit", 200_000_000, "200Mbit"),
            ("10 Gbit", 10_000_000_000, "10Gbit"),
            ("1500", 1_500, "1500bit"),
        ] {
            assert_eq!(BitsPerSec::parse(text), Ok(BitsPerSec(bits)));
            let json = serde_json::to_string(&BitsPerSec(bits)).unwrap();
            assert_eq!(json, format!("\"{again}\""));
            assert_eq!(serde_json::from_str::<BitsPerSec>(&json).unwrap(), BitsPerSec(bits));
        }
        for wrong in ["", "0", "fast", "-1Mbit", "1.5Gbit", "99999999999Gbit"] {
            assert!(BitsPerSec::parse(wrong).is_err(), "{wrong}");
        }
        assert_eq!(BitsPerSec(8_000_000).bytes_in(crate::time::Span(1_500)), Bytes(1_500));
        assert_eq!(BitsPerSec(3).time_of(1), crate::time::Span(2_666_667));
    }

    #[test]
    fn sizes_read_back_what_was_written() {
        for (text, bytes) in [("1MiB", 1 << 20), ("64 KiB", 64 << 10), ("17", 17), ("3B", 3), ("0", 0)] {
            let parsed = Bytes::parse(text).unwrap();
            assert_eq!(parsed, Bytes(bytes));
            assert_eq!(Bytes::parse(&String::from(parsed)).unwrap(), parsed);
        }
        for bad in ["", "MiB", "-1", "1.5MiB", "1MB", "99999999999GiB", "+1"] {
            assert!(Bytes::parse(bad).is_err(), "{bad:?} was taken for a size");
        }
    }

    #[test]
    fn buckets_cover_the_arena_in_whole_chunks() {
        let buckets = bucket_ranges(10 * 1024, Bytes(3 * 4096));
        assert_eq!(buckets, [0..3072, 3072..6144, 6144..9216, 9216..10240]);
        assert_eq!(bucket_ranges(2048, Bytes(1)), [0..1024, 1024..2048]);
    }
}
