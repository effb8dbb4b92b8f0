//! Where the levels of a round lie: all in one vector, or level 0 in a second one that stays as it came.

use std::ops::Range;

use half::{bf16, f16};
use hcrun_protocol::schedule::Level;

use super::element::Element;

#[derive(Debug, Clone)]
pub struct Levels<T> {
    /// Out of place only: level 0, where it was not written.
    pub(super) input: Option<Vec<T>>,
    pub(super) output: Vec<T>,
    /// Where level 0 is in `output` although there is an input: packing has changed it, or it was received.
    written: Ranges,
}

impl<T: Element> Levels<T> {
    pub(super) fn in_place(values: Vec<T>) -> Levels<T> {
        Levels { input: None, output: values, written: Ranges::default() }
    }

    pub(super) fn out_of_place(input: Vec<T>, output: Vec<T>) -> Levels<T> {
        Levels { input: Some(input), output, written: Ranges::default() }
    }

    pub(super) fn elems(&self) -> usize {
        self.output.len()
    }

    /// The vector in which a range of a level lies, unless it is the output.
    pub(super) fn apart(&self, level: Level, range: &Range<usize>) -> Option<&[T]> {
        match &self.input {
            Some(input) if level == Level(0) && !self.written.contain(range) => Some(input),
            _ => None,
        }
    }

    /// What a level holds in a range.
    pub(super) fn own(&self, level: Level, range: Range<usize>) -> &[T] {
        &self.apart(level, &range).unwrap_or(&self.output)[range]
    }

    /// The range of the level in the output, for a change in place.
    pub(super) fn moved(&mut self, level: Level, range: Range<usize>) -> &mut [T] {
        let Levels { input, output, written } = self;
        let into = &mut output[range.clone()];
        match input {
            Some(input) if level == Level(0) && !written.contain(&range) => {
                into.copy_from_slice(&input[range]);
            }
            _ => {}
        }
        into
    }

    /// From here on the range of the level is in the output.
    pub(super) fn mark_written(&mut self, level: Level, range: Range<usize>) {
        if self.input.is_some() && level == Level(0) {
            self.written.insert(range);
        }
    }
}

/// Sorted, neither touching nor overlapping.
#[derive(Debug, Clone, Default)]
struct Ranges(Vec<Range<usize>>);

impl Ranges {
    fn insert(&mut self, range: Range<usize>) {
        if range.is_empty() {
            return;
        }
        let first = self.0.partition_point(|known| known.end < range.start);
        let end = self.0.partition_point(|known| known.start <= range.end);
        let joined = match self.0.get(first..end) {
            Some([known, ..]) => known.start.min(range.start)..self.0[end - 1].end.max(range.end),
            _ => range,
        };
        self.0.splice(first..end, [joined]);
    }

    /// The whole of a range that is no part of an interval would be in two places: `Schedule::verify`
    /// excludes it.
    fn contain(&self, range: &Range<usize>) -> bool {
        let after = self.0.partition_point(|known| known.start < range.end);
        let Some(last) = after.checked_sub(1).map(|index| &self.0[index]) else { return false };
        let contained = last.start <= range.start && range.end <= last.end;
        debug_assert!(contained || last.end <= range.start, "{range:?} is packed in part: {last:?}");
        contained
    }
}

macro_rules! any_levels {
    ($($variant:ident($type:ident)),*) => {
        /// Levels of any element type.
        #[derive(Debug, Clone)]
        pub enum AnyLevels {
            $($variant(Levels<$type>)),*
        }

        /// Evaluates an expression for the levels of whatever type there is.
        macro_rules! for_any {
            ($any:expr, $levels:ident => $body:expr) => {
                match $any {
                    $($crate::host_buffers::levels::AnyLevels::$variant($levels) => $body),*
                }
            };
        }
    };
}

any_levels!(F32(f32), F64(f64), F16(f16), Bf16(bf16), I8(i8), U8(u8), I32(i32), U32(u32), I64(i64), U64(u64));

pub(super) use for_any;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_that_touch_are_joined() {
        let mut ranges = Ranges::default();
        for range in [8..10, 2..4, 4..4, 4..6, 20..30, 0..1, 6..8] {
            ranges.insert(range);
        }
        assert_eq!(ranges.0, [0..1, 2..10, 20..30]);
        for (range, contained) in
            [(2..10, true), (3..9, true), (10..20, false), (30..31, false), (25..26, true)]
        {
            assert_eq!(ranges.contain(&range), contained, "{range:?}");
        }
        ranges.insert(1..25);
        assert_eq!(ranges.0.len(), 1);
        assert!(ranges.contain(&(0..30)));
    }
}
