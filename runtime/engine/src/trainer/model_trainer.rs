//! The native trainer: a model of this crate on a worker's own data.

use std::ops::Range;
use std::rc::Rc;

use hcrun_kernels::any_buffers::AnyBuffers;
use hcrun_kernels::device::Device;
use hcrun_protocol::batch::{BatchPlan, Sample};
use hcrun_protocol::job::{Job, Train};
use hcrun_protocol::{Rank, Step};

use super::compute::Compute;
use super::host::Host;
use super::on_device::OnDevice;
use super::{PARAMETERS, Trainer, TrainerError};
use crate::batch::{Batch, EvalSums, Sums};
use crate::clip::Clip;
use crate::data::dataset::even_parts;
use crate::data::{Dataset, MicroBatch, Statistics};
use crate::learning_rate::learning_rate;
use crate::optimizer::StepScalars;
use crate::spec::ModelSpec;

/// Held-out samples computed at once; activations of a few windows stay in the cache.
const EVALUATION_BATCH: usize = 16;

/// See [`Trainer`].
pub struct ModelTrainer {
    train: Train,
    me: Rank,
    batches: BatchPlan,
    /// Held-out samples and the ranks that may hold them, by class.
    held_out: Vec<(u64, Vec<Rank>)>,
    dataset: Dataset,
    /// Made by the first evaluation, kept for the next.
    evaluation: Vec<MicroBatch>,
    compute: Box<dyn Compute>,
    arena_elems: usize,
    /// Ranges of the arena whose optimizer state is held here, in order.
    updated: Vec<Range<usize>>,
}

impl ModelTrainer {
    /// A trainer at the job's initial parameters.
    ///
    /// `buckets` are the ranges of the arena that are exchanged, `updated` those that this rank updates; `held_out` is by residency class. Computes on the
    /// CPU, or on a device.
    ///
    /// # Errors
    /// If the device has no room, or no kernels for the model.
    #[expect(clippy::too_many_arguments, reason = "all that decides of a worker's part of a job")]
    pub fn new(
        job: &Job,
        spec: ModelSpec,
        me: Rank,
        batches: BatchPlan,
        held_out: Vec<(u64, Vec<Rank>)>,
        dataset: Dataset,
        buckets: &[Range<usize>],
        updated: Vec<Range<usize>>,
        device: Option<Rc<dyn Device>>,
    ) -> Result<ModelTrainer, TrainerError> {
        let (parameters, arena_elems) = (spec.init(job.seed), spec.arena_elems());
        let most = batches.compose(Step(0)).samples_of(me).div_ceil(u64::from(job.train.accumulation));
        let most = usize::try_from(most).unwrap_or(usize::MAX).max(EVALUATION_BATCH);
        let owned = updated.clone();
        let compute: Box<dyn Compute> = match device {
            None => Box::new(Host::new(spec, &job.train, most, buckets, owned, &parameters)),
            Some(device) => {
                Box::new(OnDevice::new(device, spec, &job.train, most, buckets, owned, &parameters)?)
            }
        };
        Ok(ModelTrainer {
            train: job.train.clone(),
            me,
            batches,
            held_out,
            dataset,
            evaluation: Vec::new(),
            compute,
            arena_elems,
            updated,
        })
    }

    /// Called after each operation: proof of progress.
    pub fn set_on_progress(&mut self, on_progress: impl Fn() + Send + 'static) {
        self.compute.set_on_progress(Box::new(on_progress));
    }

    /// Takes the statistics that belong to a resumed model.
    ///
    /// # Errors
    /// If they are not statistics of this job's columns.
    pub fn resume_statistics(&mut self, statistics: Statistics) -> Result<(), TrainerError> {
        if let Some(schema) = self.dataset.schema() {
            statistics.check(schema)?;
            self.dataset.set_statistics(statistics);
        }
        Ok(())
    }

    /// Where a part of the arena lies among the updated ranges, one after the other.
    fn state_place(&self, range: &Range<usize>) -> Range<usize> {
        let mut start = 0;
        for updated in &self.updated {
            if updated.start <= range.start && range.end <= updated.end {
                let start = start + range.start - updated.start;
                return start..start + range.len();
            }
            start += updated.len();
        }
        unreachable!("a rank hands over only what it updates: {range:?}")
    }
}

impl Trainer for ModelTrainer {
    fn arena_elems(&self) -> usize {
        self.arena_elems
    }

    fn samples(&self, step: Step) -> u64 {
        self.batches.compose(step).samples_of(self.me)
    }

    fn forward_backward(
        &mut self,
        step: Step,
        on_final: &mut dyn FnMut(usize, AnyBuffers),
    ) -> Result<Sums, TrainerError> {
        let batch = self.batches.compose(step);
        let samples: Vec<Sample> = self.batches.samples(&batch.parts[self.me.index()]).collect();
        let count = usize::try_from(self.train.accumulation).unwrap_or(usize::MAX);
        let parts = self.dataset.micro_batches(&samples, count)?;
        let parts: Vec<Batch<'_>> = parts.iter().map(MicroBatch::as_batch).collect();
        self.compute.forward_backward(&parts, on_final)
    }

    fn take_gradient(&mut self, bucket: usize, sums: AnyBuffers) {
        self.compute.take_gradient(bucket, sums);
    }

    fn norm_partials(
        &mut self,
        range: &Range<usize>,
        chunk_elems: usize,
        partials: &mut Vec<f64>,
    ) -> Result<(), TrainerError> {
        self.compute.norm_partials(range, chunk_elems, partials)
    }

    fn apply(&mut self, step: Step, clip: &Clip) -> Result<(), TrainerError> {
        let scalars = StepScalars {
            learning_rate: self.learning_rate(step),
            gradient_scale: clip.gradient_scale,
            updates_before: step.0,
            skip: clip.skip,
        };
        self.compute.update(&scalars)
    }

    fn lend_parameters(&mut self, bucket: usize) -> AnyBuffers {
        self.compute.lend_parameters(bucket)
    }

    fn take_parameters(&mut self, bucket: usize, gathered: AnyBuffers) {
        self.compute.take_parameters(bucket, gathered);
    }

    fn digests(&mut self) -> Result<Vec<u64>, TrainerError> {
        self.compute.digests()
    }

    fn advance(&mut self) -> Result<(), TrainerError> {
        self.compute.advance()
    }

    fn learning_rate(&self, step: Step) -> f64 {
        learning_rate(&self.train, step.0)
    }

    fn evaluate(&mut self) -> Result<(EvalSums, u64), TrainerError> {
        let classes = self.held_out.iter().map(|(samples, ranks)| (*samples, ranks.as_slice()));
        let parts = even_parts(classes, self.me);
        if self.evaluation.is_empty() {
            self.evaluation = self.dataset.held_out_batches(&parts, EVALUATION_BATCH)?;
        }
        let mut sums = EvalSums::default();
        for batch in &self.evaluation {
            sums.add(self.compute.evaluate(batch.as_batch())?);
        }
        Ok((sums, parts.iter().map(|(_, part)| part.end - part.start).sum()))
    }

    fn statistics(&self) -> Result<Option<Vec<f64>>, TrainerError> {
        if self.dataset.statistics().is_some() {
            return Ok(None);
        }
        let classes = self.batches.classes().iter().map(|class| (class.samples, class.ranks.as_slice()));
        let sums = self.dataset.sums(&even_parts(classes, self.me))?;
        Ok(sums.map(crate::data::Sums::into_vec))
    }

    fn set_statistics(&mut self, sums: &[f64]) -> Result<(), TrainerError> {
        if let Some(schema) = self.dataset.schema() {
            let statistics = Statistics::from_sums(schema, sums)?;
            self.dataset.set_statistics(statistics);
        }
        Ok(())
    }

    fn snapshot(&self, ranges: &[Range<usize>]) -> Result<Vec<(String, Vec<f32>)>, TrainerError> {
        let mut parameters = Vec::new();
        for range in ranges {
            self.compute.read_parameters(range, &mut parameters)?;
        }
        let mut arenas = vec![(PARAMETERS.to_owned(), parameters)];
        for (name, values) in self.compute.state()? {
            let places = ranges.iter().flat_map(|range| &values[self.state_place(range)]);
            arenas.push((name, places.copied().collect()));
        }
        Ok(arenas)
    }

    fn restore(&mut self, arenas: &[(String, Vec<f32>)]) -> Result<(), TrainerError> {
        let expected = self.arena_elems();
        let parameters = arenas.iter().find(|(name, values)| name == PARAMETERS && values.len() == expected);
        let (_, parameters) = parameters.ok_or(TrainerError::Parameters { expected })?;
        self.compute.restore(parameters, arenas)
    }
}
