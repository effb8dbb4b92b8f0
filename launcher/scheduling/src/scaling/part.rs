//! One part of a step's time: a choice of terms, and their constants.

use super::least_squares::non_negative;
use super::{Measured, Shape};

/// What a part of a step may be proportional to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Term {
    /// Seconds per step.
    Fixed,
    /// Seconds per sample of a worker.
    Samples,
    /// Seconds per step as soon as there are two workers.
    Exchanging,
    /// Seconds per byte that a worker sends, before a codec packs it: `2 (n - 1) / n` of the gradients, as in any
    /// all-reduce that sends as little as possible.
    Bytes,
    /// Seconds per other worker.
    Peers,
    /// Seconds per worker.
    Workers,
}

pub(super) const COMPUTE: &[Term] = &[Term::Fixed, Term::Samples];
pub(super) const EXCHANGE: &[Term] = &[Term::Exchanging, Term::Bytes, Term::Peers];
pub(super) const REST: &[Term] = &[Term::Fixed, Term::Workers];

impl Term {
    /// In JSON.
    pub fn key(self) -> &'static str {
        match self {
            Term::Fixed => "fixed_s",
            Term::Samples => "per_sample_s",
            Term::Exchanging => "per_exchange_s",
            Term::Bytes => "per_byte_s",
            Term::Peers => "per_peer_s",
            Term::Workers => "per_worker_s",
        }
    }

    /// For people: `1.20 ms per sample of a worker`.
    pub fn words(self, constant: f64) -> String {
        let milliseconds = constant * 1e3;
        match self {
            Term::Fixed | Term::Exchanging => format!("{milliseconds:.3} ms"),
            Term::Samples => format!("{milliseconds:.3} ms per sample of a worker"),
            Term::Bytes => format!("{:.3} ms per MB that a worker sends, before packing", milliseconds * 1e6),
            Term::Peers => format!("{milliseconds:.3} ms per other worker"),
            Term::Workers => format!("{milliseconds:.3} ms per worker"),
        }
    }

    fn of(self, shape: &Shape) -> f64 {
        let workers = f64::from(shape.workers);
        match self {
            Term::Fixed => 1.0,
            Term::Samples => shape.samples_per_worker,
            Term::Exchanging if shape.workers < 2 => 0.0,
            Term::Exchanging => 1.0,
            Term::Bytes => 2.0 * (workers - 1.0) / workers * shape.gradient_bytes,
            Term::Peers => workers - 1.0,
            Term::Workers => workers,
        }
    }
}

/// Terms and their constants.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    terms: Vec<(Term, f64)>,
}

impl Part {
    /// Terms whose constant is not zero, in seconds per unit.
    pub fn constants(&self) -> impl Iterator<Item = (Term, f64)> {
        self.terms.iter().copied().filter(|(_, constant)| *constant > 0.0)
    }

    pub fn seconds(&self, shape: &Shape) -> f64 {
        let sum: f64 = self.terms.iter().map(|(term, constant)| constant * term.of(shape)).sum();
        sum * shape.sharing
    }

    /// Constants of `terms` that come closest to `times`, relative to whole steps.
    fn fit(terms: &[Term], rows: &[Row], times: &[f64], left_out: Option<usize>) -> Part {
        let kept = || (0..rows.len()).filter(|index| Some(*index) != left_out);
        let column = |term: Term| kept().map(|index| rows[index].weighted(term)).collect::<Vec<f64>>();
        let columns: Vec<Vec<f64>> = terms.iter().map(|term| column(*term)).collect();
        let wanted: Vec<f64> = kept().map(|index| times[index] / rows[index].step_s).collect();
        let constants = non_negative(&columns, &wanted);
        Part { terms: terms.iter().copied().zip(constants).collect() }
    }
}

/// One measured size.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row {
    shape: Shape,
    step_s: f64,
}

impl Row {
    pub(super) fn of(point: &Measured) -> Row {
        Row { shape: point.shape, step_s: point.step_s() }
    }

    fn weighted(&self, term: Term) -> f64 {
        term.of(&self.shape) * self.shape.sharing / self.step_s
    }
}

/// What a part of the step is made of, as far as the measured sizes tell.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Chosen {
    pub(super) part: Part,
    /// Without each size.
    pub(super) folds: Vec<Part>,
    /// Other choices of terms that predict sizes left out nearly as well.
    pub(super) rivals: Vec<Part>,
}

impl Chosen {
    /// Seconds by which the rivals are off, at most.
    pub(super) fn doubt(&self, shape: &Shape) -> f64 {
        let seconds = self.part.seconds(shape);
        self.rivals.iter().map(|rival| (rival.seconds(shape) - seconds).abs()).fold(0.0, f64::max)
    }
}

/// The choice among `candidates` that predicts sizes left out best. A term more must pay: exact data would fit any.
pub(super) fn choose(candidates: &[Term], rows: &[Row], times: &[f64]) -> Chosen {
    let tried: Vec<(f64, Part, Vec<Part>)> = choices(candidates, rows)
        .map(|choice| {
            let without = |index| Part::fit(&choice, rows, times, Some(index));
            let folds: Vec<Part> = (0..rows.len()).map(without).collect();
            let error = |(index, fold): (usize, &Part)| {
                let error = (fold.seconds(&rows[index].shape) - times[index]) / rows[index].step_s;
                error * error
            };
            (folds.iter().enumerate().map(error).sum(), Part::fit(&choice, rows, times, None), folds)
        })
        .collect();
    let (mut best, mut least) = (0, f64::INFINITY);
    for (index, (error, ..)) in tried.iter().enumerate() {
        if *error < least * WORTH_A_TERM - NOISE {
            (best, least) = (index, *error);
        }
    }
    let near = |(error, ..): &&(f64, Part, Vec<Part>)| *error <= least * NEAR + NOISE;
    let rivals = tried.iter().filter(near).map(|(_, part, _)| part.clone()).collect();
    let (_, part, folds) = tried[best].clone();
    Chosen { part, folds, rivals }
}

/// Fewer terms first; never more than the sizes can tell apart with one left out.
fn choices(candidates: &[Term], rows: &[Row]) -> impl Iterator<Item = Vec<Term>> {
    let says = |row: &&Row| candidates.iter().any(|term| term.of(&row.shape) > 0.0);
    let most = rows.iter().filter(says).count().saturating_sub(1).max(1);
    let chosen = |bits: usize| {
        let chosen = candidates.iter().enumerate().filter(|(index, _)| bits >> index & 1 == 1);
        chosen.map(|(_, term)| *term).collect::<Vec<Term>>()
    };
    let mut choices: Vec<Vec<Term>> = (1..1usize << candidates.len()).map(chosen).collect();
    choices.retain(|choice| choice.len() <= most);
    choices.sort_by_key(Vec::len);
    choices.into_iter()
}

/// Part of the squared error that may be left after another choice.
const WORTH_A_TERM: f64 = 0.99;
/// Choices whose error is at most twice the least, here squared, cannot be told from the best.
const NEAR: f64 = 4.0;
/// Squared relative errors below are those of arithmetic.
const NOISE: f64 = 1e-18;
