//! What the training loop needs of an engine: one worker's model, optimizer and data behind one trait.
//!
//! The loop (worker) exchanges and decides nothing here; the engine computes and knows no network.

use std::ops::Range;

use hcrun_kernels::any_buffers::AnyBuffers;
use hcrun_protocol::Step;

use crate::batch::{EvalSums, Sums};
use crate::clip::Clip;

mod buckets;
mod compute;
mod host;
mod model_trainer;
mod on_device;

pub use model_trainer::ModelTrainer;

/// One worker's part of a job.
pub trait Trainer {
    fn arena_elems(&self) -> usize;
    /// Samples of this worker in `step`; 0 is a worker that joins the exchange with zeros.
    fn samples(&self, step: Step) -> u64;
    /// Sums of loss and gradient over this worker's samples of `step`.
    ///
    /// `on_final` gets each bucket of the gradient arena once it is final, about from the arena's end towards its
    /// start, and the buffers that its round works on: they come back by [`Self::take_gradient`].
    ///
    /// # Errors
    /// If the worker's data cannot be used, in which case no bucket has been reported, or if what computes fails.
    fn forward_backward(
        &mut self,
        step: Step,
        on_final: &mut dyn FnMut(usize, AnyBuffers),
    ) -> Result<Sums, TrainerError>;
    /// What a bucket's round has made of its buffers: sums over all workers, at least in the ranges that this one
    /// updates.
    fn take_gradient(&mut self, bucket: usize, sums: AnyBuffers);
    /// Appends the sums of squares of a range of the summed gradient, by chunk.
    ///
    /// # Errors
    /// If what computes fails.
    fn norm_partials(
        &mut self,
        range: &Range<usize>,
        chunk_elems: usize,
        partials: &mut Vec<f64>,
    ) -> Result<(), TrainerError>;
    /// Updates the owned ranges out of the current arena into the next one.
    ///
    /// # Errors
    /// If what computes fails.
    fn apply(&mut self, step: Step, clip: &Clip) -> Result<(), TrainerError>;
    /// A bucket of the next arena, with what this worker has updated of it: the round that gathers the rest works on
    /// it, and it comes back by [`Self::take_parameters`].
    fn lend_parameters(&mut self, bucket: usize) -> AnyBuffers;
    /// The whole bucket.
    fn take_parameters(&mut self, bucket: usize, gathered: AnyBuffers);
    /// Of each bucket of the next arena.
    ///
    /// # Errors
    /// If what computes fails.
    fn digests(&mut self) -> Result<Vec<u64>, TrainerError>;
    /// The next arena becomes current, whole.
    ///
    /// # Errors
    /// If what computes fails.
    fn advance(&mut self) -> Result<(), TrainerError>;
    fn learning_rate(&self, step: Step) -> f64;
    /// Sums over this worker's part of the held-out samples, and how many samples those are.
    ///
    /// # Errors
    /// If the worker's data cannot be used.
    fn evaluate(&mut self) -> Result<(EvalSums, u64), TrainerError>;
    /// Sums over this worker's part of the training rows; none for text, and none once they are set.
    ///
    /// # Errors
    /// If the worker's data cannot be used.
    fn statistics(&self) -> Result<Option<Vec<f64>>, TrainerError>;
    /// Takes the sums over all workers' parts.
    ///
    /// # Errors
    /// If they are not statistics of this job's columns.
    fn set_statistics(&mut self, sums: &[f64]) -> Result<(), TrainerError>;
    /// The given owned ranges of the parameters and of each optimizer state, by name, one after the other.
    ///
    /// # Errors
    /// If what computes fails.
    fn snapshot(&self, ranges: &[Range<usize>]) -> Result<Vec<(String, Vec<f32>)>, TrainerError>;
    /// Takes whole arenas as [`Self::snapshot`] names them.
    ///
    /// # Errors
    /// If an arena is missing or has another length.
    fn restore(&mut self, arenas: &[(String, Vec<f32>)]) -> Result<(), TrainerError>;
}

/// Why an engine cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum TrainerError {
    #[error("the worker's data cannot be used")]
    Data(#[from] crate::data::DataError),
    #[error("a batch does not fit the model")]
    Batch(#[from] crate::batch::BatchError),
    #[error("the resumed state does not fit the job")]
    State(#[from] crate::optimizer::StateError),
    #[error("the resumed state has no parameters of {expected} elements")]
    Parameters { expected: usize },
    #[error("the GPU cannot go on")]
    Device(#[from] crate::device::DeviceModelError),
    #[error("the statistics do not fit the job's columns")]
    Statistics(#[from] crate::data::statistics::StatisticsError),
}

/// The name of the parameters among a snapshot's arenas.
pub const PARAMETERS: &str = "parameters";
