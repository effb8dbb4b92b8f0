//! Settings of small trainings.

use hcrun_protocol::job::{self, Matmul};

/// AdamW with clipping, on batches of four.
pub(crate) fn train(matmul: Matmul) -> job::Train {
    job::Train {
        loss: job::Loss::CrossEntropy,
        optimizer: job::Optimizer::Adamw,
        learning_rate: 1e-3,
        final_learning_rate: 0.0,
        schedule: job::LearningRateSchedule::Constant,
        warmup_steps: 0,
        weight_decay: 0.01,
        momentum: 0.9,
        betas: [0.9, 0.999],
        epsilon: 1e-8,
        clip: 1.0,
        matmul,
        batch: 4,
        accumulation: 1,
        steps: 6,
        evaluate_every: 0,
        checkpoint_every: 0,
    }
}
