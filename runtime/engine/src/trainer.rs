//! What the training loop needs of an engine: one worker's model, optimizer and data behind one trait.
//!
//! The loop (worker) exchanges and decides nothing here; the engine computes and knows no network.

use std::ops::Range;

use hcrun_protocol::Step;

use crate::batch::{EvalSums, Sums};
use crate::clip::Clip;

mod compute;
mod model_trainer;

pub use model_trainer::ModelTrainer;

/// One worker's part of a job.
pub trait Trainer {
    fn arena_elems(&self) -> usize;
    /// Samples of this worker in `step`; 0 is a worker that joins the exchange with zeros.
    fn samples(&self, step: Step) -> u64;
    /// Sums of loss and gradient over this worker's samples of `step`.
    ///
    /// `on_ready` gets each range of the gradient arena with its values once they are final, from the
    /// arena's end towards its start; the ranges cover the arena exactly once.
    ///
    /// # Errors
    /// If the worker's data cannot be used; no range has been reported then.
    fn forward_backward(
        &mut self,
        step: Step,
        on_ready: &mut dyn FnMut(Range<usize>, &[f32]),
    ) -> Result<Sums, TrainerError>;
    /// Updates the owned ranges out of the current arena into the next one.
    ///
    /// # Errors
    /// If what computes fails.
    fn apply(&mut self, step: Step, clip: &Clip, gradient_sum: &[f32]) -> Result<(), TrainerError>;
    /// The arena that [`Self::advance`] makes current; what others own is written here.
    fn next_parameters(&mut self) -> &mut [f32];
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
