//! Every strategy on every seed, on all cores. One that comes to no end costs its own row, not those of the others.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use hcrun_scheduling::comparison::{Beside, Figures, JobTimes, beside, job_times, vary};
use hcrun_scheduling::costs::{Bill, bill};
use hcrun_scheduling::simulator::{self, Observer, Outcome, SimulationError, Timeline};
use hcrun_scheduling::{Decision, State, strategies};
use indicatif::{ProgressBar, ProgressStyle};

use super::{Inputs, spot};
use crate::codes::Code;
use crate::failure::Result;
use crate::interrupts::Interrupts;
use crate::output::{self, Output};

/// One strategy on one seed.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    pub(crate) strategy: &'static str,
    pub(crate) seed: u32,
    pub(crate) figures: Figures,
    pub(crate) bill: Bill,
    /// Across zone borders; none where the trace does not say what jobs send.
    pub(crate) sent_bytes: Option<u64>,
    /// Beside the first strategy on the same seed, over jobs that both finished.
    pub(crate) beside: Option<Beside>,
    /// Of the whole simulation, on one core.
    pub(crate) wall_ms: f64,
    pub(crate) decision_p50_ms: f64,
    pub(crate) decision_p95_ms: f64,
}

/// A simulation without figures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unfinished {
    pub(crate) strategy: &'static str,
    pub(crate) seed: u32,
    pub(crate) why: Why,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Why {
    Failed(String),
    Interrupted,
}

/// What is drawn of one strategy: the trace as it is.
#[derive(Debug, Clone)]
pub(crate) struct Drawn {
    pub(crate) strategy: &'static str,
    /// In the order asked for: its colour, also where a strategy before it failed.
    pub(crate) place: usize,
    pub(crate) outcome: Outcome,
    pub(crate) timeline: Timeline,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Results {
    /// By strategy in the order asked for, then by seed.
    pub(crate) runs: Vec<Run>,
    /// In the same order.
    pub(crate) unfinished: Vec<Unfinished>,
    /// By strategy; empty unless drawings were asked for.
    pub(crate) drawn: Vec<Drawn>,
    /// The signal that ended the sweep early.
    pub(crate) interrupted: Option<&'static Code>,
}

impl Results {
    /// The runs of one strategy, by seed.
    pub(crate) fn of(&self, strategy: &str) -> impl Iterator<Item = &Run> {
        self.runs.iter().filter(move |run| run.strategy == strategy)
    }

    /// Simulations that failed, with the reason.
    pub(crate) fn failed(&self) -> impl Iterator<Item = (&Unfinished, &str)> {
        self.unfinished.iter().filter_map(|unfinished| match &unfinished.why {
            Why::Failed(why) => Some((unfinished, why.as_str())),
            Why::Interrupted => None,
        })
    }
}

/// Simulates all; `draw` keeps what drawings need. A signal ends it with what is complete by then.
///
/// # Errors
/// If spot capacity cannot be used.
pub(crate) fn sweep(
    inputs: &Inputs,
    draw: bool,
    interrupts: &Interrupts,
    output: &Output,
) -> Result<Results> {
    // What is wrong with it is wrong for all strategies.
    spot::course(&inputs.spot, &inputs.fleet, 0, inputs.seeds)?;
    let strategies = inputs.strategies.len();
    let total = strategies * inputs.seeds as usize;
    let (next, collected) = (AtomicUsize::new(0), Mutex::new(Collected::new(strategies)));
    let bar = progress(total, output);
    std::thread::scope(|scope| {
        for _ in 0..inputs.threads.min(total) {
            scope.spawn(|| {
                while interrupts.seen().is_none() {
                    let task = next.fetch_add(1, Ordering::Relaxed);
                    if task >= total {
                        return;
                    }
                    // All strategies of one seed are neighbours, so that what is complete early can be compared.
                    let (seed, strategy) = (task / strategies, task % strategies);
                    let seed = u32::try_from(seed).unwrap_or(u32::MAX);
                    let run = catch_unwind(AssertUnwindSafe(|| {
                        one(inputs, inputs.strategies[strategy], seed, draw && seed == 0, interrupts)
                    }));
                    let run = run
                        .unwrap_or_else(|_| Err(Why::Failed("it broke off: a mistake of hcrun".to_owned())));
                    collected.lock().unwrap_or_else(PoisonError::into_inner).add(seed, strategy, run);
                    bar.inc(1);
                }
            });
        }
    });
    bar.finish_and_clear();
    let collected = collected.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(collected.results(inputs, interrupts.seen()))
}

/// What the jobs of one simulation took.
type Times = Vec<Option<JobTimes>>;

/// One simulation with what is kept of it for a while.
struct One {
    run: Run,
    drawn: Option<Drawn>,
    times: Times,
}

/// By strategy and seed.
#[derive(Default)]
struct Collected {
    strategies: usize,
    runs: BTreeMap<(usize, u32), Run>,
    failed: BTreeMap<(usize, u32), Why>,
    drawn: BTreeMap<usize, Drawn>,
    /// Of seeds that are not complete: for each of their strategies that ended, what jobs took, if it came to its end.
    open: BTreeMap<u32, BTreeMap<usize, Option<Times>>>,
}

impl Collected {
    fn new(strategies: usize) -> Collected {
        Collected { strategies, ..Collected::default() }
    }

    fn add(&mut self, seed: u32, strategy: usize, run: Result<One, Why>) {
        let times = match run {
            Ok(One { run, drawn, times }) => {
                self.runs.insert((strategy, seed), run);
                self.drawn.extend(drawn.map(|drawn| (strategy, drawn)));
                Some(times)
            }
            Err(why) => {
                self.failed.insert((strategy, seed), why);
                None
            }
        };
        let open = self.open.entry(seed).or_default();
        open.insert(strategy, times);
        if open.len() == self.strategies {
            self.pair(seed);
        }
    }

    /// Compares what ended of a seed with its first strategy, and forgets what jobs took.
    fn pair(&mut self, seed: u32) {
        let times = self.open.remove(&seed).unwrap_or_default();
        let Some(Some(base)) = times.get(&0) else { return };
        for (strategy, times) in &times {
            if let (Some(times), Some(run)) = (times, self.runs.get_mut(&(*strategy, seed))) {
                run.beside = beside(times, base);
            }
        }
    }

    fn results(mut self, inputs: &Inputs, signal: Option<&'static Code>) -> Results {
        let open: Vec<u32> = self.open.keys().copied().collect();
        open.into_iter().for_each(|seed| self.pair(seed));
        let mut unfinished = Vec::new();
        for (index, strategy) in inputs.strategies.iter().copied().enumerate() {
            for seed in (0..inputs.seeds).filter(|seed| !self.runs.contains_key(&(index, *seed))) {
                let why = self.failed.remove(&(index, seed)).unwrap_or(Why::Interrupted);
                unfinished.push(Unfinished { strategy, seed, why });
            }
        }
        // A signal that came with the last row has cost nothing.
        let interrupted = signal.filter(|_| unfinished.iter().any(|one| one.why == Why::Interrupted));
        let (runs, drawn) = (self.runs.into_values().collect(), self.drawn.into_values().collect());
        Results { runs, unfinished, drawn, interrupted }
    }
}

fn one(
    inputs: &Inputs,
    name: &'static str,
    seed: u32,
    draw: bool,
    interrupts: &Interrupts,
) -> Result<One, Why> {
    let workload = vary(&inputs.workload, seed.into(), inputs.estimates)
        .map_err(|error| Why::Failed(error.to_string()))?;
    let mut strategy = strategies::by_name(name).expect("names are checked when they are read");
    let mut clock =
        Clock { interrupts, since: None, took: Vec::new(), timeline: draw.then(Timeline::default) };
    let started = Instant::now();
    let course = spot::course(&inputs.spot, &inputs.fleet, seed, inputs.seeds)
        .map_err(|failure| Why::Failed(failure.causes.last().unwrap_or(&failure.what).clone()))?;
    let outcome =
        simulator::rehearse(&inputs.fleet, &course, workload, &mut strategy, inputs.checks, &mut clock);
    let wall_ms = started.elapsed().as_secs_f64() * 1e3;
    let outcome = outcome.map_err(|error| match error {
        SimulationError::Stopped { .. } => Why::Interrupted,
        error => Why::Failed(error.to_string()),
    })?;
    let figures = Figures::of(&outcome);
    let (decision_p50_ms, decision_p95_ms) = clock.percentiles_ms();
    let bill = bill(&inputs.fleet, &outcome.billed, outcome.sent.as_deref().unwrap_or(&[]));
    let sent_bytes = outcome.sent.as_ref().map(|sent| sent.iter().map(|(.., bytes)| bytes).sum());
    let (strategy, times) = (name, job_times(&outcome));
    let run = Run {
        strategy,
        seed,
        figures,
        bill,
        sent_bytes,
        beside: None,
        wall_ms,
        decision_p50_ms,
        decision_p95_ms,
    };
    let place = inputs.strategies.iter().position(|known| *known == name).unwrap_or(0);
    let drawn = clock.timeline.map(|timeline| Drawn { strategy: name, place, outcome, timeline });
    Ok(One { run, drawn, times })
}

/// Takes the time of decisions, and sees signals.
#[derive(Debug)]
struct Clock<'a> {
    interrupts: &'a Interrupts,
    since: Option<Instant>,
    took: Vec<Duration>,
    timeline: Option<Timeline>,
}

impl Clock<'_> {
    fn percentiles_ms(&mut self) -> (f64, f64) {
        self.took.sort_unstable();
        let at = |percent: usize| {
            self.took.get(self.took.len() * percent / 100).map_or(0.0, Duration::as_secs_f64)
        };
        (at(50) * 1e3, at(95) * 1e3)
    }
}

impl Observer for Clock<'_> {
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

    fn stops(&self) -> bool {
        self.interrupts.seen().is_some()
    }
}

fn progress(total: usize, output: &Output) -> ProgressBar {
    if output.is_quiet() || output.is_json() || !output::stderr_is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:40} {pos} of {len} simulations, {eta} left");
    ProgressBar::new(total as u64).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
