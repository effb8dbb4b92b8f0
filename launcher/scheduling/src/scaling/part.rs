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

/// The choice among `candidates` that predicts sizes left out best, fitted to all sizes, and without each. A term more
/// must pay: exact data would fit any.
pub(super) fn choose(candidates: &[Term], rows: &[Row], times: &[f64]) -> (Part, Vec<Part>) {
    let informative =
        rows.iter().filter(|row| candidates.iter().any(|term| term.of(&row.shape) > 0.0)).count();
    let most = informative.saturating_sub(1).max(1);
    let mut choices: Vec<Vec<Term>> = (1..1usize << candidates.len())
        .map(|bits| {
            let chosen = candidates.iter().enumerate().filter(|(index, _)| bits >> index & 1 == 1);
            chosen.map(|(_, term)| *term).collect()
        })
        .filter(|choice: &Vec<Term>| choice.len() <= most)
        .collect();
    choices.sort_by_key(Vec::len);
    let mut best: Option<(f64, Vec<Term>, Vec<Part>)> = None;
    for choice in choices {
        let without = |index| Part::fit(&choice, rows, times, Some(index));
        let folds: Vec<Part> = (0..rows.len()).map(without).collect();
        let error = |(index, fold): (usize, &Part)| {
            let error = (fold.seconds(&rows[index].shape) - times[index]) / rows[index].step_s;
            error * error
        };
        let error: f64 = folds.iter().enumerate().map(error).sum();
        if best.as_ref().is_none_or(|(least, ..)| error < least * WORTH_A_TERM - NOISE) {
            best = Some((error, choice, folds));
        }
    }
    let (_, choice, folds) = best.unwrap_or_default();
    (Part::fit(&choice, rows, times, None), folds)
}

/// Part of the squared error that may be left after another choice.
const WORTH_A_TERM: f64 = 0.99;
/// Squared relative errors below are those of arithmetic.
const NOISE: f64 = 1e-18;
