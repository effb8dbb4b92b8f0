//! Bamboo's spot fleets (uclasystem/bamboo, traces): instances that came and went by name, and counts of instances held.

use std::collections::BTreeMap;

use hcrun_protocol::time::{Span, Time};
use time::Date;

use super::{Flip, History, MAX_SLOTS, Slots, SpotError, split_first};
use crate::costs::parse_date;

/// `*-trace.csv`: time in ms, `add` or `remove`, node. An instance takes the lowest free slot. The history begins with the
/// first row: building the fleet up is part of it. It ends with the last.
///
/// # Errors
/// The line that cannot be understood.
pub fn fleet(text: &str) -> Result<History, SpotError> {
    let (mut slots, mut names, mut flips) = (Slots::new(MAX_SLOTS), BTreeMap::new(), Vec::new());
    let (mut begin, mut last, mut most) = (None, 0, 0);
    for (row, line) in text.lines().zip(1..).filter(|(row, _)| !row.trim().is_empty()) {
        let wrong = |why: String| SpotError::Line { line, why };
        let [ms, what, name] =
            fields(row).ok_or_else(|| wrong(format!("`{row}` is not: time, add or remove, node")))?;
        let ms: u64 = ms.parse().map_err(|_| wrong(format!("`{ms}` is not a time in ms")))?;
        let begin = *begin.get_or_insert(ms);
        if ms < last {
            return Err(wrong(format!("its time {ms} is before the row above")));
        }
        last = ms;
        let at = Time((ms - begin).saturating_mul(1_000));
        match what {
            "add" => {
                let slot = slots.win().ok_or(SpotError::TooManySlots { got: u64::from(MAX_SLOTS) + 1 })?;
                if names.insert(name.to_owned(), slot).is_some() {
                    return Err(wrong(format!("node `{name}` is there already")));
                }
                most = most.max(slot + 1);
                flips.push(Flip { at, slot, up: true });
            }
            "remove" => {
                let slot = names.remove(name).ok_or_else(|| wrong(format!("there is no node `{name}`")))?;
                slots.lose(slot);
                flips.push(Flip { at, slot, up: false });
            }
            other => return Err(wrong(format!("`{other}` is neither `add` nor `remove`"))),
        }
    }
    let length = Span((last - begin.unwrap_or(0)).saturating_mul(1_000));
    let (first, flips) = split_first(most, flips);
    History::new(length, first, flips)
}

/// `*.txt`: date, time of day, count of instances held. The slot won last is lost first: the files name none.
/// Rows are sorted by time, as the files write some of them late; of one moment the last row counts.
///
/// # Errors
/// The line that cannot be understood.
pub fn counts(text: &str) -> Result<History, SpotError> {
    let mut rows: Vec<(u64, u32)> = Vec::new();
    for (row, line) in text.lines().zip(1..).filter(|(row, _)| !row.trim().is_empty()) {
        let wrong = |why: String| SpotError::Line { line, why };
        let [date, clock, count] =
            fields(row).ok_or_else(|| wrong(format!("`{row}` is not: date, time, count")))?;
        let at = parse_date(date).and_then(|date| seconds(date, clock));
        let at =
            at.ok_or_else(|| wrong(format!("`{date}, {clock}` is not a time such as 2021-12-11, 11:11:30")))?;
        let count: u32 = count.parse().map_err(|_| wrong(format!("`{count}` is not a count")))?;
        rows.push((at, count));
    }
    rows.sort_by_key(|(at, _)| *at);
    let most = rows.iter().map(|(_, count)| *count).max().unwrap_or(0);
    if most > MAX_SLOTS {
        return Err(SpotError::TooManySlots { got: most.into() });
    }
    let (Some((begin, _)), Some((end, _))) = (rows.first().copied(), rows.last().copied()) else {
        return Err(SpotError::Empty);
    };
    let (mut slots, mut flips) = (Slots::new(most), Vec::new());
    for (at, count) in &rows {
        slots.set_count(Time(Span::from_secs(at - begin).0), *count, &mut flips);
    }
    let (first, flips) = split_first(most, flips);
    History::new(Span::from_secs(end - begin), first, flips)
}

fn fields(row: &str) -> Option<[&str; 3]> {
    let fields: Vec<&str> = row.split(',').map(str::trim).collect();
    fields.try_into().ok()
}

fn seconds(date: Date, clock: &str) -> Option<u64> {
    let parts: Option<Vec<u8>> = clock.split(':').map(|part| part.parse().ok()).collect();
    let [hour, minute, second] = parts?.try_into().ok()?;
    u64::try_from(date.with_hms(hour, minute, second).ok()?.assume_utc().unix_timestamp()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fleet_reuses_its_slots() {
        let history = fleet("1000,add,a\n1000,add,b\n2000,remove,a\n3000,add,c\n5000,remove,b\n").unwrap();
        assert_eq!((history.slots, history.length), (2, Span::from_millis(4_000)));
        assert!((history.availability(2) - 0.75).abs() < 1e-12);
    }

    #[test]
    fn counts_are_held_until_the_next_row() {
        let text = "2021-12-11, 23:59:50, 1\n2021-12-12, 00:00:00, 2\n2021-12-12, 00:00:10, 2\n";
        let history = counts(text).unwrap();
        assert_eq!((history.slots, history.length), (2, Span::from_secs(20)));
        assert!((history.availability(2) - 0.5).abs() < 1e-12);
    }

    #[test]
    fn errors_name_the_line() {
        let lines = [
            (fleet("0,add,a\n1,take,a\n"), "line 2: `take` is neither `add` nor `remove`"),
            (fleet("0,add,a\n1,remove,b\n"), "line 2: there is no node `b`"),
            (fleet("5,add,a\n\n1,add,b\n"), "line 3: its time 1 is before the row above"),
            (fleet("0,add\n"), "line 1: `0,add` is not: time, add or remove, node"),
            (counts("2021-12-11, 11:11:30, x\n"), "line 1: `x` is not a count"),
            (counts("2021-13-11, 11:11:30, 1\n"), "line 1: `2021-13-11, 11:11:30` is not a time such as"),
        ];
        for (result, expected) in lines {
            let error = result.unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
        assert_eq!(fleet(""), Err(SpotError::Empty));
    }
}
