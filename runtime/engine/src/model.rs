//! A model ready to compute: its tape, and batches in and out of it.

mod gpt;
mod mlp;
pub(crate) mod samples;

use std::ops::Range;

use hcrun_kernels::Real;
use hcrun_kernels::cross_entropy::correct;
use hcrun_protocol::job::Matmul;

use self::samples::{AnyTargets, Samples};
use crate::batch::{Batch, BatchError, EvalSums, Inputs, Sums, Targets};
use crate::graph::{Graph, Value};
use crate::spec::{Kind, ModelSpec};
use crate::tape::{Pass, Tape};

/// Forward and backward of one model over borrowed parameters. Production is `Model<f32>`.
pub struct Model<T: Real = f32> {
    spec: ModelSpec,
    /// Samples computed at once by [`Self::evaluate`] and [`Self::predict`].
    max_samples: usize,
    tape: Tape<T>,
    /// Where features go; None for text, whose bytes the embedding reads.
    features: Option<Value>,
    predictions: Value,
    /// Targets of a text batch, widened.
    classes: Vec<u32>,
    on_progress: Box<dyn Fn() + Send>,
}

/// Receives a finished range of the gradient arena and its values.
pub type OnReady<'a, T = f32> = dyn FnMut(Range<usize>, &[T]) + 'a;

/// What a pass back needs.
struct Backward<'a, 'b, T> {
    gradient: &'a mut [T],
    /// None but in the last micro-batch.
    on_ready: Option<&'a mut OnReady<'b, T>>,
}

impl<T: Real> Model<T> {
    /// Buffers are allocated for `max_samples` at once; larger micro-batches make them grow.
    pub fn new(spec: ModelSpec, max_samples: usize) -> Model<T> {
        let (graph, features, predictions) = graph_of(&spec);
        let mut tape = Tape::new(&graph, spec.parameters(), spec.arena_elems());
        let max_samples = max_samples.max(1);
        tape.reserve(max_samples * spec.rows_per_sample());
        let on_progress = Box::new(|| {});
        Model { spec, max_samples, tape, features, predictions, classes: Vec::new(), on_progress }
    }

    pub fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    /// What the factors of matrix products are rounded to; f32 if never called.
    pub fn set_matmul(&mut self, matmul: Matmul) {
        self.tape.set_matmul(matmul);
    }

    /// Called after every operation of a pass: what a heartbeat's progress counter counts.
    pub fn set_on_progress(&mut self, on_progress: impl Fn() + Send + 'static) {
        self.on_progress = Box::new(on_progress);
    }

    /// Sums of loss and gradient over the micro-batches.
    ///
    /// `gradient` is overwritten with the sum over tokens or rows; dividing by the global weight is the
    /// update's part. `on_ready` is called with each range once no further operation changes it, from the
    /// arena's end towards its start; the ranges cover the arena exactly once, padding included. Without
    /// samples the gradient is zero and ready at once.
    ///
    /// # Errors
    /// If a batch does not fit the model; nothing was computed or reported ready then.
    ///
    /// # Panics
    /// If `params` or `gradient` is not of the arena's length.
    pub fn forward_backward(
        &mut self,
        params: &[T],
        batches: &[Batch<'_>],
        gradient: &mut [T],
        on_ready: &mut OnReady<'_, T>,
    ) -> Result<Sums, BatchError> {
        let arena_elems = self.spec.arena_elems();
        assert!(params.len() == arena_elems && gradient.len() == arena_elems, "arena of {arena_elems}");
        let mut last = None;
        for (index, batch) in batches.iter().enumerate() {
            if Samples::of_batch(&self.spec, batch)?.rows > 0 {
                last = Some(index);
            }
        }
        gradient.fill(T::ZERO);
        let Some(last) = last else {
            on_ready(0..arena_elems, gradient);
            return Ok(Sums::default());
        };
        let mut sums = Sums::default();
        for (index, batch) in batches[..=last].iter().enumerate() {
            let samples = Samples::of_batch(&self.spec, batch)?;
            if samples.rows == 0 {
                continue;
            }
            let on_ready = if index == last { Some(&mut *on_ready) } else { None };
            sums.loss_sum += self.pass(params, &samples, Some(Backward { gradient, on_ready }));
            sums.weight += samples.rows as f64;
        }
        Ok(sums)
    }

    /// Sums over a held-out batch of any size.
    ///
    /// # Errors
    /// If the batch does not fit the model.
    pub fn evaluate(&mut self, params: &[T], batch: Batch<'_>) -> Result<EvalSums, BatchError> {
        let outputs = self.spec.outputs();
        let samples = Samples::of_batch(&self.spec, &batch)?;
        let mut sums = EvalSums::default();
        for part in samples.parts(self.max_samples * samples.length, outputs) {
            let loss_sum = self.pass(params, &part, None);
            let predictions = self.tape.value(self.predictions);
            let right = match part.targets {
                Some(AnyTargets::Bytes(_)) => correct(predictions, outputs, &self.classes),
                Some(AnyTargets::Rows(Targets::Class(classes))) => correct(predictions, outputs, classes),
                Some(AnyTargets::Rows(Targets::Value(_))) | None => 0,
            };
            let squares = matches!(part.targets, Some(AnyTargets::Rows(Targets::Value(_))));
            sums.add(EvalSums {
                loss_sum,
                weight: part.rows as f64,
                correct: right as f64,
                squared_error: if squares { loss_sum } else { 0.0 },
            });
        }
        Ok(sums)
    }

    /// Logits or values, `[rows, outputs]`, for inputs of any number.
    ///
    /// # Errors
    /// If the inputs do not fit the model.
    pub fn predict(&mut self, params: &[T], inputs: Inputs<'_>) -> Result<Vec<T>, BatchError> {
        let outputs = self.spec.outputs();
        let samples = Samples::of_inputs(&self.spec, inputs)?;
        let mut predictions = Vec::with_capacity(samples.rows * outputs);
        for part in samples.parts(self.max_samples * samples.length, outputs) {
            self.pass(params, &part, None);
            predictions.extend_from_slice(self.tape.value(self.predictions));
        }
        Ok(predictions)
    }

    /// Runs forward and, if asked, backward; returns the summed loss.
    fn pass(&mut self, params: &[T], samples: &Samples<'_>, backward: Option<Backward<'_, '_, T>>) -> f64 {
        let on_progress = &self.on_progress;
        let targets = match samples.targets {
            None => None,
            Some(AnyTargets::Rows(targets)) => Some(targets),
            Some(AnyTargets::Bytes(bytes)) => {
                self.classes.clear();
                self.classes.extend(bytes.iter().map(|byte| u32::from(*byte)));
                Some(Targets::Class(&self.classes))
            }
        };
        let Samples { rows, length, tokens, features, .. } = *samples;
        let pass = Pass { rows, length, tokens, targets };
        let features = self.features.map(|input| (input, features));
        self.tape.forward(params, &pass, features, on_progress);
        if let Some(Backward { gradient, mut on_ready }) = backward {
            self.tape.backward(params, gradient, &pass, |ranges, gradient| {
                on_progress();
                if let Some(on_ready) = &mut on_ready {
                    ranges.iter().rev().for_each(|range| on_ready(range.clone(), &gradient[range.clone()]));
                }
            });
        }
        self.tape.loss()
    }
}

/// The operations of a model, where its features go (none for text, whose bytes the embedding reads), and its
/// predictions.
pub(crate) fn graph_of(spec: &ModelSpec) -> (Graph, Option<Value>, Value) {
    let mut graph = Graph::default();
    let mut features = None;
    let predictions = match &spec.kind {
        Kind::Gpt { layers, width, heads, .. } => gpt::build(&mut graph, spec, *layers, *width, *heads),
        Kind::Mlp { widths } => {
            let input = *features.insert(graph.input(widths[0]));
            mlp::build(&mut graph, spec, input, widths)
        }
    };
    graph.loss_of(predictions);
    (graph, features, predictions)
}
