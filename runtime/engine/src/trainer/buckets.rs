//! Which buckets of the arena are final.

use std::ops::Range;

/// Ranges that cover an arena, in its order.
pub(super) struct Buckets {
    ranges: Vec<Range<usize>>,
    /// Elements that are not final yet, per bucket.
    missing: Vec<usize>,
}

impl Buckets {
    pub(super) fn new(ranges: &[Range<usize>]) -> Buckets {
        Buckets { ranges: ranges.to_vec(), missing: vec![0; ranges.len()] }
    }

    pub(super) fn ranges(&self) -> &[Range<usize>] {
        &self.ranges
    }

    /// Nothing is final.
    pub(super) fn begin(&mut self) {
        for (missing, range) in self.missing.iter_mut().zip(&self.ranges) {
            *missing = range.len();
        }
    }

    /// Each bucket that has elements of a range which is final now: its number and range, the part of it, and whether
    /// all of the bucket is final then.
    pub(super) fn finish(
        &mut self,
        range: &Range<usize>,
        mut each: impl FnMut(usize, &Range<usize>, Range<usize>, bool),
    ) {
        let first = self.ranges.partition_point(|bucket| bucket.end <= range.start);
        for (index, bucket) in self.ranges.iter().enumerate().skip(first) {
            let part = range.start.max(bucket.start)..range.end.min(bucket.end);
            if part.is_empty() {
                break;
            }
            self.missing[index] -= part.len();
            each(index, bucket, part, self.missing[index] == 0);
        }
    }

    /// # Panics
    /// If a bucket is not final: an engine reports every range of the arena once.
    pub(super) fn assert_final(&self) {
        let missing = self.missing.iter().position(|missing| *missing > 0);
        assert!(missing.is_none(), "backward has ended without bucket {missing:?}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_end_with_their_last_part() {
        let mut buckets = Buckets::new(&[0..10, 10..30, 30..35]);
        for _ in 0..2 {
            buckets.begin();
            let mut seen = Vec::new();
            for range in [25..35, 8..25, 0..8] {
                buckets.finish(&range, |bucket, _, part, last| seen.push((bucket, part, last)));
            }
            let parts = [
                (1, 25..30, false),
                (2, 30..35, true),
                (0, 8..10, false),
                (1, 10..25, true),
                (0, 0..8, true),
            ];
            assert_eq!(seen, parts);
            buckets.assert_final();
        }
    }

    #[test]
    #[should_panic(expected = "without bucket Some(1)")]
    fn a_bucket_that_is_not_final_is_found() {
        let mut buckets = Buckets::new(&[0..10, 10..30]);
        buckets.begin();
        buckets.finish(&(0..29), |_, _, _, _| {});
        buckets.assert_final();
    }
}
