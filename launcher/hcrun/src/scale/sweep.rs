//! Runs every size as often as asked, one run at a time.

use std::path::Path;
use std::time::{Duration, Instant};

use super::measure::{self, Run};
use super::plan::{Experiment, words};
use crate::cli::{Global, ServeArgs};
use crate::codes;
use crate::failure::{Failure, Result};
use crate::interrupts::Interrupts;
use crate::output::{self, Output};
use crate::report::{self, Status, format};
use crate::run;

/// Runs in the order in which they were made, and why they ended early, if they did.
#[derive(Debug, Default)]
pub(crate) struct Measured {
    pub(super) runs: Vec<Run>,
    pub(super) ended: Option<Failure>,
}

/// Makes all runs.
///
/// # Errors
/// What ended the first run, if nothing was measured before.
pub(crate) fn sweep(experiment: &Experiment, runs_dir: &Path, output: &Output) -> Result<Measured> {
    let order = order(experiment.sizes.len(), experiment.repeats);
    let interrupts = Interrupts::watch()?;
    let mut measured = Measured::default();
    let started = Instant::now();
    for (index, (size, repeat)) in order.iter().copied().enumerate() {
        if let Some(code) = interrupts.seen() {
            measured.ended = Some(Failure::new(code, "stopped between two runs"));
            break;
        }
        output.note(&line(experiment, index, order.len(), (size, repeat), started.elapsed()));
        match one(experiment, (size, repeat), runs_dir, output) {
            Ok(run) => measured.runs.push(run),
            Err(failure) => {
                measured.ended = Some(failure);
                break;
            }
        }
    }
    match measured.ended {
        Some(failure) if measured.runs.is_empty() => Err(failure),
        _ => Ok(measured),
    }
}

/// Forth and back: what drifts on the machine, such as its heat or its neighbours, hits all sizes alike.
fn order(sizes: usize, repeats: u32) -> Vec<(usize, u32)> {
    let round = |repeat: u32| {
        (0..sizes).map(
            move |size| if repeat.is_multiple_of(2) { (size, repeat) } else { (sizes - 1 - size, repeat) },
        )
    };
    (0..repeats).flat_map(round).collect()
}

fn line(
    experiment: &Experiment,
    index: usize,
    total: usize,
    (size, repeat): (usize, u32),
    since: Duration,
) -> String {
    let size = &experiment.sizes[size];
    let left = match u32::try_from(index) {
        Ok(done) if done > 0 => {
            let left = since / done * u32::try_from(total - index).unwrap_or(u32::MAX);
            format!(", about {} left", format::duration(left))
        }
        _ => String::new(),
    };
    let workers = format::plural(size.workers.into(), "worker");
    let (spread, repeats) = (words(&size.spread), experiment.repeats);
    format!("run {} of {total}: {workers} ({spread}), repeat {} of {repeats}{left}", index + 1, repeat + 1)
}

fn one(experiment: &Experiment, at: (usize, u32), runs_dir: &Path, output: &Output) -> Result<Run> {
    let size = &experiment.sizes[at.0];
    // Only a terminal has room for the line that moves; a log would fill with every run's.
    let quiet = output.is_quiet() || output.is_json() || !output::stderr_is_terminal();
    let inner = Output::new(&Global { json: false, runs_dir: runs_dir.to_owned(), quiet });
    let serve = ServeArgs { wait_for_workers: false, listen: None, parent: None };
    let (dir, summary) = run::train(&size.prepared, &serve, runs_dir, &inner)?;
    if summary.status != Status::Done {
        return Err(Failure::new(
            &codes::INTERRUPTED,
            format!("a run of the experiment was {}", summary.status),
        )
        .at(dir.path.display().to_string())
        .hint("what was measured before is reported; give the command again for the rest"));
    }
    let (steps, _) = report::read_metrics(&dir);
    measure::measure(at, dir.name(), size.batch, &steps, &summary).ok_or_else(|| {
        Failure::new(&codes::RUN_DIRECTORY, "a run has left no times of its steps")
            .at(dir.path.display().to_string())
    })
}

#[cfg(test)]
mod tests {
    use super::order;

    #[test]
    fn sizes_take_turns_forth_and_back() {
        assert_eq!(order(3, 2), [(0, 0), (1, 0), (2, 0), (2, 1), (1, 1), (0, 1)]);
    }
}
