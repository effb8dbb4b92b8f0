//! How fast a run trains: the time of each step, and samples over the time of all.

use std::time::Duration;

use hcrun_protocol::Step;

/// Moments count from anything, as long as it is the same for all.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// When the first step began.
    began: Option<Duration>,
    /// When the step that is under way began.
    step_began: Option<Duration>,
    committed: Option<(Step, Duration)>,
    samples: u64,
}

impl Pace {
    /// The first step begins.
    pub(super) fn start(&mut self, at: Duration) {
        self.began.get_or_insert(at);
        self.step_began = Some(at);
    }

    /// A step ends, over so many samples; how long it took.
    pub(super) fn commit(&mut self, step: Step, samples: u64, at: Duration) -> Duration {
        let took = at.saturating_sub(self.step_began.unwrap_or(at));
        self.step_began = Some(at);
        self.committed = Some((step, at));
        self.samples += samples;
        took
    }

    /// An evaluation ends, which is not part of the next step's time. One may be heard of before the last worker is heard to
    /// have ended its step: that step still has all its time.
    pub(super) fn evaluate(&mut self, after: Step, at: Duration) {
        if self.committed.is_some_and(|(step, _)| step >= after) {
            self.step_began = Some(at);
        }
    }

    /// Samples over the time from the first step's begin to the last one's end, with all that lay between.
    pub(super) fn samples_per_s(&self) -> Option<f64> {
        let took = self.committed?.1.saturating_sub(self.began?).as_secs_f64();
        (took > 0.0).then(|| self.samples as f64 / took)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_rate_is_over_all_the_time_from_the_first_begin_to_the_last_end() {
        let mut pace = Pace::default();
        assert_eq!(pace.samples_per_s(), None);
        pace.start(at(10));
        assert_eq!(pace.samples_per_s(), None);
        assert_eq!(pace.commit(Step(0), 30, at(13)), at(3));
        assert_eq!(pace.samples_per_s(), Some(10.0));
        pace.evaluate(Step(0), at(15));
        assert_eq!(pace.commit(Step(1), 30, at(16)), at(1));
        assert_eq!(pace.samples_per_s(), Some(10.0));
    }

    #[test]
    fn a_step_keeps_its_time_when_its_evaluation_is_heard_of_first() {
        let mut pace = Pace::default();
        pace.start(at(0));
        pace.evaluate(Step(0), at(4));
        assert_eq!(pace.commit(Step(0), 20, at(5)), at(5));
        assert_eq!(pace.samples_per_s(), Some(4.0));
        assert_eq!(pace.commit(Step(1), 20, at(7)), at(2));
    }
}
