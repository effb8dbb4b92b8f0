//! Computing on the CPU, by the thread that calls.

use std::ops::Range;

use hcrun_kernels::any_buffers::AnyBuffers;
use hcrun_kernels::digest;
use hcrun_kernels::host_buffers::{Feedback, HostBuffers};
use hcrun_kernels::memory::{copy_of, zeros};
use hcrun_protocol::job::Train;

use super::TrainerError;
use super::buckets::Buckets;
use super::compute::{Compute, OnFinal};
use crate::batch::{Batch, EvalSums, Sums};
use crate::clip;
use crate::model::Model;
use crate::optimizer::{Optimizer, StepScalars};
use crate::spec::ModelSpec;

pub(super) struct Host {
    model: Model<f32>,
    optimizer: Optimizer,
    parameters: Vec<f32>,
    next: Vec<f32>,
    gradient: Vec<f32>,
    /// Of all workers.
    gradient_sum: Vec<f32>,
    buckets: Buckets,
    /// By bucket, while parts of it are final.
    filling: Vec<Option<Vec<f32>>>,
    /// What codecs have rounded away, by bucket: it is added to the next step's gradient.
    feedback: Vec<Feedback>,
    /// Vectors of rounds that have ended, so that a step allocates nothing after the first.
    spares: Vec<Vec<f32>>,
}

impl Host {
    pub(super) fn new(
        spec: ModelSpec,
        train: &Train,
        max_samples: usize,
        buckets: &[Range<usize>],
        owned: Vec<Range<usize>>,
        parameters: &[f32],
    ) -> Host {
        let profile = spec.profile();
        let mut model = Model::new(spec, max_samples);
        model.set_matmul(train.matmul);
        Host {
            model,
            optimizer: Optimizer::new(train, &profile, owned),
            next: zeros(profile.arena_elems),
            gradient: zeros(profile.arena_elems),
            gradient_sum: zeros(profile.arena_elems),
            parameters: copy_of(parameters),
            buckets: Buckets::new(buckets),
            filling: vec![None; buckets.len()],
            feedback: vec![Feedback::default(); buckets.len()],
            spares: Vec::new(),
        }
    }
}

/// With any content.
fn vector(spares: &mut Vec<Vec<f32>>, elems: usize) -> Vec<f32> {
    let mut vector = spares.pop().unwrap_or_default();
    vector.resize(elems, 0.0);
    vector
}

impl Compute for Host {
    fn set_on_progress(&mut self, on_progress: Box<dyn Fn() + Send>) {
        self.model.set_on_progress(on_progress);
    }

    fn forward_backward(
        &mut self,
        batches: &[Batch<'_>],
        on_final: &mut OnFinal<'_>,
    ) -> Result<Sums, TrainerError> {
        let Host { model, parameters, gradient, buckets, filling, feedback, spares, .. } = self;
        buckets.begin();
        let sums = model.forward_backward(parameters, batches, gradient, &mut |range, values| {
            buckets.finish(&range, |bucket, whole, part, last| {
                let own = filling[bucket].get_or_insert_with(|| vector(spares, whole.len()));
                own[part.start - whole.start..part.end - whole.start]
                    .copy_from_slice(&values[part.start - range.start..part.end - range.start]);
                if let Some(own) = filling[bucket].take_if(|_| last) {
                    let feedback = std::mem::take(&mut feedback[bucket]);
                    on_final(bucket, HostBuffers::new(own).feedback(feedback).into());
                }
            });
        })?;
        buckets.assert_final();
        Ok(sums)
    }

    fn evaluate(&mut self, batch: Batch<'_>) -> Result<EvalSums, TrainerError> {
        Ok(self.model.evaluate(&self.parameters, batch)?)
    }

    fn take_gradient(&mut self, bucket: usize, sums: AnyBuffers) {
        let parts = sums.into_host().and_then(HostBuffers::into_parts::<f32>);
        let parts = parts.expect("the buffers that were handed out");
        self.gradient_sum[self.buckets.ranges()[bucket].clone()].copy_from_slice(&parts.result);
        self.feedback[bucket] = parts.feedback.unwrap_or_default();
        self.spares.push(parts.result);
    }

    fn norm_partials(
        &mut self,
        range: &Range<usize>,
        chunk_elems: usize,
        partials: &mut Vec<f64>,
    ) -> Result<(), TrainerError> {
        clip::norm_partials(&self.gradient_sum[range.clone()], chunk_elems, partials);
        Ok(())
    }

    fn update(&mut self, scalars: &StepScalars) -> Result<(), TrainerError> {
        self.optimizer.apply(scalars, &self.parameters, &self.gradient_sum, &mut self.next);
        Ok(())
    }

    fn lend_parameters(&mut self, bucket: usize) -> AnyBuffers {
        let own = &self.next[self.buckets.ranges()[bucket].clone()];
        let mut lent = vector(&mut self.spares, own.len());
        lent.copy_from_slice(own);
        HostBuffers::new(lent).into()
    }

    fn take_parameters(&mut self, bucket: usize, gathered: AnyBuffers) {
        let gathered = gathered.into_host().and_then(HostBuffers::into_vec::<f32>);
        let gathered = gathered.expect("the buffers that were handed out");
        self.next[self.buckets.ranges()[bucket].clone()].copy_from_slice(&gathered);
        self.spares.push(gathered);
    }

    fn digests(&mut self) -> Result<Vec<u64>, TrainerError> {
        let digest = |range: &Range<usize>| digest::digest(range.start, &self.next[range.clone()]);
        Ok(self.buckets.ranges().iter().map(digest).collect())
    }

    fn advance(&mut self) -> Result<(), TrainerError> {
        std::mem::swap(&mut self.parameters, &mut self.next);
        Ok(())
    }

    fn read_parameters(&self, range: &Range<usize>, parameters: &mut Vec<f32>) -> Result<(), TrainerError> {
        parameters.extend_from_slice(&self.parameters[range.clone()]);
        Ok(())
    }

    fn state(&self) -> Result<Vec<(String, Vec<f32>)>, TrainerError> {
        Ok(self.optimizer.export())
    }

    fn restore(&mut self, parameters: &[f32], arenas: &[(String, Vec<f32>)]) -> Result<(), TrainerError> {
        self.optimizer.restore(arenas)?;
        self.parameters.copy_from_slice(parameters);
        Ok(())
    }
}
