//! Every strategy on every seed, on all cores.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use hcrun_scheduling::comparison::{Figures, vary};
use hcrun_scheduling::costs::{Bill, bill};
use hcrun_scheduling::simulator::{self, Observer, Outcome, Timeline};
use hcrun_scheduling::{Decision, State, strategies};
use indicatif::{ProgressBar, ProgressStyle};

use super::{Inputs, spot};
use crate::codes;
use crate::failure::{Failure, Result};
use crate::output::{self, Output};

/// One strategy on one seed.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    pub(crate) strategy: &'static str,
    pub(crate) seed: u32,
    pub(crate) figures: Figures,
    pub(crate) bill: Bill,
    /// Of the whole simulation, on one core.
    pub(crate) wall_ms: f64,
    pub(crate) decision_p50_ms: f64,
    pub(crate) decision_p95_ms: f64,
}

/// What is drawn of one strategy: the trace as it is.
#[derive(Debug, Clone)]
pub(crate) struct Drawn {
    pub(crate) strategy: &'static str,
    pub(crate) outcome: Outcome,
    pub(crate) timeline: Timeline,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Results {
    /// By strategy in the order asked for, then by seed.
    pub(crate) runs: Vec<Run>,
    /// By strategy; empty unless drawings were asked for.
    pub(crate) drawn: Vec<Drawn>,
}

impl Results {
    /// The runs of one strategy, by seed.
    pub(crate) fn of(&self, strategy: &str) -> impl Iterator<Item = &Run> {
        self.runs.iter().filter(move |run| run.strategy == strategy)
    }
}

/// Simulates all; `draw` keeps what drawings need.
pub(crate) fn sweep(inputs: &Inputs, draw: bool, output: &Output) -> Result<Results> {
    let seeds = inputs.seeds as usize;
    let total = inputs.strategies.len() * seeds;
    let (next, done) = (AtomicUsize::new(0), Mutex::new((Vec::new(), Vec::new(), None)));
    let bar = progress(total, output);
    std::thread::scope(|scope| {
        for _ in 0..inputs.threads.min(total) {
            scope.spawn(|| {
                loop {
                    let task = next.fetch_add(1, Ordering::Relaxed);
                    if task >= total {
                        return;
                    }
                    let (strategy, seed) = (inputs.strategies[task / seeds], task % seeds);
                    let run =
                        one(inputs, strategy, u32::try_from(seed).unwrap_or(u32::MAX), draw && seed == 0);
                    let mut done = done.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                    match run {
                        Ok((run, drawn)) => {
                            done.0.push((task, run));
                            done.1.extend(drawn.map(|drawn| (task, drawn)));
                        }
                        Err(failure) => {
                            // The first in the order of tasks, whichever thread was faster.
                            if done.2.as_ref().is_none_or(|(first, _)| task < *first) {
                                done.2 = Some((task, failure));
                            }
                            next.store(total, Ordering::Relaxed);
                        }
                    }
                    bar.inc(1);
                }
            });
        }
    });
    bar.finish_and_clear();
    let (mut runs, mut drawn, failed) = done.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some((_, failure)) = failed {
        return Err(failure);
    }
    runs.sort_by_key(|(task, _)| *task);
    drawn.sort_by_key(|(task, _)| *task);
    Ok(Results {
        runs: runs.into_iter().map(|(_, run)| run).collect(),
        drawn: drawn.into_iter().map(|(_, drawn)| drawn).collect(),
    })
}

fn one(inputs: &Inputs, name: &'static str, seed: u32, draw: bool) -> Result<(Run, Option<Drawn>)> {
    let failed = |error: &dyn std::error::Error| {
        Failure::new(&codes::SIMULATION_STUCK, format!("{name} does not come to its end on seed {seed}"))
            .caused_by(error)
    };
    let workload = vary(&inputs.workload, seed.into(), inputs.estimates).map_err(|error| failed(&error))?;
    let mut strategy = strategies::by_name(name).expect("names are checked when they are read");
    let mut clock = Clock { timeline: draw.then(Timeline::default), ..Clock::default() };
    let started = Instant::now();
    let course = spot::course(&inputs.spot, &inputs.fleet, seed, inputs.seeds)?;
    let outcome =
        simulator::rehearse(&inputs.fleet, &course, workload, &mut strategy, inputs.checks, &mut clock);
    let wall_ms = started.elapsed().as_secs_f64() * 1e3;
    let outcome = outcome.map_err(|error| failed(&error))?;
    let figures = Figures::of(&outcome);
    let (decision_p50_ms, decision_p95_ms) = clock.percentiles_ms();
    let bill = bill(&inputs.fleet, &outcome.billed, &[]);
    let run = Run { strategy: name, seed, figures, bill, wall_ms, decision_p50_ms, decision_p95_ms };
    let drawn = clock.timeline.map(|timeline| Drawn { strategy: name, outcome, timeline });
    Ok((run, drawn))
}

/// Takes the time of decisions.
#[derive(Debug, Default)]
struct Clock {
    since: Option<Instant>,
    took: Vec<Duration>,
    timeline: Option<Timeline>,
}

impl Clock {
    fn percentiles_ms(&mut self) -> (f64, f64) {
        self.took.sort_unstable();
        let at = |percent: usize| {
            self.took.get(self.took.len() * percent / 100).map_or(0.0, Duration::as_secs_f64)
        };
        (at(50) * 1e3, at(95) * 1e3)
    }
}

impl Observer for Clock {
    fn deciding(&mut self, _state: &State) {
        self.since = Some(Instant::now());
    }

    fn decided(&mut self, _state: &State, _decisions: &[Decision]) {
        self.took.extend(self.since.take().map(|since| since.elapsed()));
    }

    fn settled(&mut self, state: &State) {
        if let Some(timeline) = &mut self.timeline {
            timeline.settled(state);
        }
    }
}

fn progress(total: usize, output: &Output) -> ProgressBar {
    if output.is_quiet() || output.is_json() || !output::stderr_is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:40} {pos} of {len} simulations, {eta} left");
    ProgressBar::new(total as u64).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
