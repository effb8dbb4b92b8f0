//! What the runs of a job measured: its work, what starting and stopping cost, and when it began.

use std::fs::File;
use std::io::{BufRead, BufReader, Seek, SeekFrom};

use hcrun_protocol::time::{Span, Time};
use hcrun_scheduling::Work;
use hcrun_scheduling::state::Past;

use super::store::{Ending, RunRow};
use super::submission::moment;
use crate::run_dir::{RunDir, files};

/// Sums over a job's runs. A run that nobody saw the end of counts for nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Measured {
    /// From each first step to the wish to stop, or to the end; all of a run that failed before its first step.
    pub(super) work: Span,
    /// From launch to end.
    held: Span,
    /// From launch to the first step, and how many of them.
    pub(super) startup: Sum,
    /// From the wish to stop to the end of the process.
    pub(super) stop: Sum,
    pub(super) starts: u32,
    pub(super) preemptions: u32,
    pub(super) first_start: Option<Time>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Sum {
    total: u64,
    count: u64,
}

impl Sum {
    fn add(&mut self, span: Span) {
        self.total += span.0;
        self.count += 1;
    }

    pub(super) fn and(self, other: Sum) -> Sum {
        Sum { total: self.total + other.total, count: self.count + other.count }
    }

    pub(super) fn mean(self) -> Option<Span> {
        (self.count > 0).then(|| Span(self.total / self.count))
    }
}

pub(super) fn measured(runs: &[RunRow]) -> Measured {
    let mut sums = Measured::default();
    for run in runs {
        sums.first_start.get_or_insert(run.launched);
        sums.starts += 1;
        let Some(ended) = run.ended else { continue };
        sums.held = sums.held + ended.since(run.launched);
        if run.ending == Some(Ending::Stopped) {
            sums.preemptions += 1;
            if let Some(asked) = run.asked_to_stop {
                sums.stop.add(ended.since(asked));
            }
        }
        if let Some(ready) = run.ready {
            sums.startup.add(ready.since(run.launched));
            let stopped = run.asked_to_stop.filter(|_| run.ending == Some(Ending::Stopped));
            sums.work = sums.work + stopped.unwrap_or(ended).since(ready);
        } else if run.ending == Some(Ending::Failed) {
            sums.work = sums.work + ended.since(run.launched);
        }
    }
    sums
}

impl Measured {
    /// Whether it worked, and never came to its first step.
    pub(super) fn is_all_start(&self) -> bool {
        self.startup.count == 0 && self.work > Span(0)
    }

    /// What a job on `devices` has behind it.
    pub(super) fn course(&self, devices: u32) -> Past {
        Past {
            done: Work::taking(self.work),
            attained: u128::from(self.held.0) * u128::from(devices),
            preemptions: self.preemptions,
            first_start: self.first_start,
        }
    }
}

/// How long the events of a run are by now: those of its next process come after.
pub(super) fn events_length(run: &RunDir) -> u64 {
    std::fs::metadata(run.file(files::EVENTS)).map_or(0, |metadata| metadata.len())
}

/// When the process that wrote its events from `offset` on made its first step: they count from the moment at which
/// the plan was written.
pub(super) fn ready(run: &RunDir, offset: u64) -> Option<Time> {
    let mut events = File::open(run.file(files::EVENTS)).ok()?;
    events.seek(SeekFrom::Start(offset)).ok()?;
    let lines = BufReader::new(events).lines().map_while(Result::ok);
    let lines = lines.filter_map(|line| serde_json::from_str::<serde_json::Value>(&line).ok());
    let started = lines.filter(|line| line["event"] == "started").find_map(|line| line["at_s"].as_f64())?;
    let planned = std::fs::metadata(run.file(files::PLAN)).ok()?.modified().ok()?;
    Some(moment(planned + std::time::Duration::try_from_secs_f64(started).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(launched: u64, ready: u64, asked: Option<u64>, ended: u64, ending: Ending) -> RunRow {
        RunRow {
            launched: Time(launched),
            started_because: "next".to_owned(),
            stopped_because: None,
            ready: Some(Time(ready)),
            asked_to_stop: asked.map(Time),
            ended: Some(Time(ended)),
            ending: Some(ending),
        }
    }

    #[test]
    fn work_is_between_the_first_step_and_the_wish_to_stop() {
        let runs = [
            run(100, 130, Some(200), 220, Ending::Stopped),
            RunRow { ended: None, ready: None, ..run(300, 0, None, 0, Ending::Lost) },
            // Told to stop, but it was done before it heard.
            run(400, 410, Some(500), 510, Ending::Done),
        ];
        let measured = measured(&runs);
        assert_eq!(measured.work, Span(70 + 100));
        assert_eq!((measured.startup.mean(), measured.stop.mean()), (Some(Span(20)), Some(Span(20))));
        assert_eq!((measured.starts, measured.preemptions), (3, 1));
        let course = measured.course(2);
        assert_eq!((course.attained, course.first_start), (2 * (120 + 110), Some(Time(100))));
    }

    #[test]
    fn a_run_that_failed_before_its_first_step_held_its_devices_all_the_same() {
        let failed = |from, to| RunRow { ready: None, ..run(from, 0, None, to, Ending::Failed) };
        let measured = measured(&[failed(100, 130), failed(200, 240)]);
        assert_eq!((measured.work, measured.startup.mean()), (Span(70), None));
        assert!(measured.is_all_start());
    }
}
