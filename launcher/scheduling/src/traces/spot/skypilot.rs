//! SkyPilot's spot traces: how many instances were there at each tick.
//!
//! `{"metadata": {"gap_seconds": 300}, "data": [0, 1, 1]}`; other keys of the metadata are ignored.

use hcrun_protocol::time::{Span, Time};
use serde::Deserialize;

use super::{Flip, History, MAX_SLOTS, Slots, SpotError, split_first};

/// # Errors
/// The line that cannot be understood, or a history in which nothing is ever there.
pub fn skypilot(text: &str) -> Result<History, SpotError> {
    let trace: Trace = serde_json::from_str(text)
        .map_err(|error| SpotError::Line { line: error.line(), why: error.to_string() })?;
    let gap = trace.metadata.gap_seconds;
    if !(1e-6..=1e6).contains(&gap) {
        let why = format!("`gap_seconds` is {gap}: it must be above 0 and at most 1000000");
        return Err(SpotError::Line { line: 1, why });
    }
    let most = trace.data.iter().copied().max().unwrap_or(0);
    if most > MAX_SLOTS {
        return Err(SpotError::TooManySlots { got: most.into() });
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "within the range just checked"
    )]
    let gap = Span((gap * 1e6).round() as u64);
    let (mut slots, mut flips) = (Slots::new(most), Vec::<Flip>::new());
    for (count, tick) in trace.data.iter().zip(0u64..) {
        slots.set_count(Time(gap.saturating_mul(tick).0), *count, &mut flips);
    }
    let (first, flips) = split_first(most, flips);
    History::new(gap.saturating_mul(trace.data.len() as u64), first, flips)
}

#[derive(Deserialize)]
struct Trace {
    metadata: Metadata,
    data: Vec<u32>,
}

#[derive(Deserialize)]
struct Metadata {
    gap_seconds: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_become_flips() {
        let history =
            skypilot(r#"{"metadata": {"gap_seconds": 600, "zone": "a"}, "data": [1, 0, 0, 2]}"#).unwrap();
        assert_eq!((history.slots, history.length), (2, Span::from_secs(2_400)));
        assert!((history.availability(1) - 0.5).abs() < 1e-12);
        assert!((history.availability(2) - 0.25).abs() < 1e-12);
    }

    #[test]
    fn what_makes_no_sense_is_an_error() {
        let error = |text| skypilot(text).unwrap_err().to_string();
        assert_eq!(error(r#"{"metadata": {"gap_seconds": 600}, "data": [0]}"#), SpotError::Empty.to_string());
        assert!(error("{\"metadata\": {\"gap_seconds\": 600},\n \"data\": [-1]}").starts_with("line 2: "));
        assert!(error(r#"{"metadata": {"gap_seconds": 0}, "data": [1]}"#).contains("`gap_seconds` is 0"));
    }
}
