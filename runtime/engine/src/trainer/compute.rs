//! Where a trainer computes: passes, the memory that rounds work on, and the update of the ranges that this rank owns.

use std::ops::Range;

use hcrun_kernels::any_buffers::AnyBuffers;

use super::TrainerError;
use crate::batch::{Batch, EvalSums, Sums};
use crate::optimizer::StepScalars;

/// Gets each bucket with its buffers once the bucket is final.
pub(super) type OnFinal<'a> = dyn FnMut(usize, AnyBuffers) + 'a;

/// Methods that [`Trainer`](super::Trainer) has too do what it says.
pub(super) trait Compute {
    /// Called as the device or processor gets on: proof of progress.
    fn set_on_progress(&mut self, on_progress: Box<dyn Fn() + Send>);
    fn forward_backward(
        &mut self,
        batches: &[Batch<'_>],
        on_final: &mut OnFinal<'_>,
    ) -> Result<Sums, TrainerError>;
    fn evaluate(&mut self, batch: Batch<'_>) -> Result<EvalSums, TrainerError>;
    fn take_gradient(&mut self, bucket: usize, sums: AnyBuffers);
    fn norm_partials(
        &mut self,
        range: &Range<usize>,
        chunk_elems: usize,
        partials: &mut Vec<f64>,
    ) -> Result<(), TrainerError>;
    /// Out of the current parameters into the next ones.
    fn update(&mut self, scalars: &StepScalars) -> Result<(), TrainerError>;
    fn lend_parameters(&mut self, bucket: usize) -> AnyBuffers;
    fn take_parameters(&mut self, bucket: usize, gathered: AnyBuffers);
    fn digests(&mut self) -> Result<Vec<u64>, TrainerError>;
    fn advance(&mut self) -> Result<(), TrainerError>;
    /// Appends a part of the current parameters.
    fn read_parameters(&self, range: &Range<usize>, parameters: &mut Vec<f32>) -> Result<(), TrainerError>;
    /// State of the optimizer of the owned ranges, one after the other, by PyTorch's names.
    fn state(&self) -> Result<Vec<(String, Vec<f32>)>, TrainerError>;
    /// Takes state out of vectors of the whole arena, and these parameters.
    fn restore(&mut self, parameters: &[f32], arenas: &[(String, Vec<f32>)]) -> Result<(), TrainerError>;
}
