//! What one worker computes on at once: a micro-batch, borrowed from its data.

/// Inputs and targets of one micro-batch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Batch<'a> {
    /// Sequences of `context` bytes each, `[sequences, context]`. `targets` holds the byte after each input.
    ///
    /// `context` may be shorter than the model's: the last held-out window of a shard is.
    Tokens { inputs: &'a [u8], targets: &'a [u8], context: usize },
    /// `features [rows, features]`, row-major.
    Rows { features: &'a [f32], targets: Targets<'a> },
}

/// What rows are to be predicted as; decides the loss.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Targets<'a> {
    /// Index of the class of each row: cross-entropy.
    Class(&'a [u32]),
    /// `[rows, outputs]`: mean squared error.
    Value(&'a [f32]),
}

/// Inputs alone, for prediction.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Inputs<'a> {
    Tokens { inputs: &'a [u8], context: usize },
    Rows { features: &'a [f32] },
}

/// Why a batch does not fit a model: the caller's mistake.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    #[error("a batch of {got} for a model of {expected}")]
    Kind { got: &'static str, expected: &'static str },
    #[error("sequences of {got} bytes for a context of {context}")]
    Context { got: usize, context: usize },
    #[error("{got} inputs are not whole samples of {width}")]
    Ragged { got: usize, width: usize },
    #[error("{got} targets for {expected}")]
    TargetCount { got: usize, expected: usize },
    #[error("class {got} in row {row} of a batch for {outputs} outputs")]
    Class { got: u32, row: usize, outputs: usize },
}

/// Global sums over samples; divided by their weight where they are reported.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Sums {
    /// Nats per token or row, or squared error per row, summed.
    pub loss_sum: f64,
    /// Tokens or rows.
    pub weight: f64,
}

/// Sums over held-out samples.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct EvalSums {
    pub loss_sum: f64,
    pub weight: f64,
    /// Tokens or rows whose likeliest class is the right one.
    pub correct: f64,
    /// In units of the standardised target; zero for cross-entropy.
    pub squared_error: f64,
}

impl EvalSums {
    pub fn add(&mut self, other: EvalSums) {
        self.loss_sum += other.loss_sum;
        self.weight += other.weight;
        self.correct += other.correct;
        self.squared_error += other.squared_error;
    }
}
