//! Where a trainer computes: passes, and the update of the ranges that this rank owns.

use std::ops::Range;

use hcrun_kernels::memory::{copy_of, zeros};
use hcrun_protocol::job::Train;

use super::TrainerError;
use crate::batch::{Batch, EvalSums, Sums};
use crate::device::DeviceModel;
use crate::model::{Model, OnReady};
use crate::optimizer::{Optimizer, StepScalars};
use crate::spec::ModelSpec;

pub(super) trait Compute {
    /// Called as the device or processor gets on: proof of progress.
    fn set_on_progress(&mut self, on_progress: Box<dyn Fn() + Send>);
    fn forward_backward(
        &mut self,
        batches: &[Batch<'_>],
        on_ready: &mut OnReady<'_>,
    ) -> Result<Sums, TrainerError>;
    fn evaluate(&mut self, batch: Batch<'_>) -> Result<EvalSums, TrainerError>;
    /// Out of the current parameters into the next ones.
    fn update(&mut self, scalars: &StepScalars, gradient_sum: &[f32]) -> Result<(), TrainerError>;
    fn next_parameters(&mut self) -> &mut [f32];
    fn advance(&mut self) -> Result<(), TrainerError>;
    fn parameters(&self) -> &[f32];
    /// State of the optimizer of the owned ranges, one after the other, by PyTorch's names.
    fn state(&self) -> Result<Vec<(String, Vec<f32>)>, TrainerError>;
    /// Takes state out of vectors of the whole arena, and these parameters.
    fn restore(&mut self, parameters: &[f32], arenas: &[(String, Vec<f32>)]) -> Result<(), TrainerError>;
}

/// On the CPU, by the thread that calls.
pub(super) struct Host {
    model: Model<f32>,
    optimizer: Optimizer,
    parameters: Vec<f32>,
    next: Vec<f32>,
    gradient: Vec<f32>,
}

impl Host {
    pub(super) fn new(
        spec: ModelSpec,
        train: &Train,
        max_samples: usize,
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
            parameters: copy_of(parameters),
        }
    }
}

impl Compute for Host {
    fn set_on_progress(&mut self, on_progress: Box<dyn Fn() + Send>) {
        self.model.set_on_progress(on_progress);
    }

    fn forward_backward(
        &mut self,
        batches: &[Batch<'_>],
        on_ready: &mut OnReady<'_>,
    ) -> Result<Sums, TrainerError> {
        Ok(self.model.forward_backward(&self.parameters, batches, &mut self.gradient, on_ready)?)
    }

    fn evaluate(&mut self, batch: Batch<'_>) -> Result<EvalSums, TrainerError> {
        Ok(self.model.evaluate(&self.parameters, batch)?)
    }

    fn update(&mut self, scalars: &StepScalars, gradient_sum: &[f32]) -> Result<(), TrainerError> {
        self.optimizer.apply(scalars, &self.parameters, gradient_sum, &mut self.next);
        Ok(())
    }

    fn next_parameters(&mut self) -> &mut [f32] {
        &mut self.next
    }

    fn advance(&mut self) -> Result<(), TrainerError> {
        std::mem::swap(&mut self.parameters, &mut self.next);
        Ok(())
    }

    fn parameters(&self) -> &[f32] {
        &self.parameters
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

impl Compute for DeviceModel {
    fn set_on_progress(&mut self, on_progress: Box<dyn Fn() + Send>) {
        DeviceModel::set_on_progress(self, on_progress);
    }

    fn forward_backward(
        &mut self,
        batches: &[Batch<'_>],
        on_ready: &mut OnReady<'_>,
    ) -> Result<Sums, TrainerError> {
        Ok(DeviceModel::forward_backward(self, batches, on_ready)?)
    }

    fn evaluate(&mut self, batch: Batch<'_>) -> Result<EvalSums, TrainerError> {
        Ok(DeviceModel::evaluate(self, batch)?)
    }

    fn update(&mut self, scalars: &StepScalars, gradient_sum: &[f32]) -> Result<(), TrainerError> {
        Ok(DeviceModel::update(self, scalars, gradient_sum)?)
    }

    fn next_parameters(&mut self) -> &mut [f32] {
        DeviceModel::next_parameters(self)
    }

    fn advance(&mut self) -> Result<(), TrainerError> {
        Ok(DeviceModel::advance(self)?)
    }

    fn parameters(&self) -> &[f32] {
        DeviceModel::parameters(self)
    }

    fn state(&self) -> Result<Vec<(String, Vec<f32>)>, TrainerError> {
        Ok(DeviceModel::state(self)?)
    }

    fn restore(&mut self, parameters: &[f32], arenas: &[(String, Vec<f32>)]) -> Result<(), TrainerError> {
        Ok(DeviceModel::restore(self, parameters, arenas)?)
    }
}
