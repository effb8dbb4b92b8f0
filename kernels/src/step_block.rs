//! The scalars of a step as kernels of a device read them: [`crate::update`]'s, in one small block of memory.

use crate::update::{Moments, Scalars, StateRounding};

/// `hc_step` of `hc_device.cuh` reads it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepBlock {
    /// Decay is not in the block: it comes from the table of segments.
    pub learning_rate: f32,
    pub gradient_scale: f32,
    pub moments: Moments,
    pub momentum: f32,
    /// The gradient is not finite: parameters are copied, state stays.
    pub skip: bool,
    /// Of state in bf16.
    pub rounding: StateRounding,
}

impl StepBlock {
    pub const WORDS: usize = 12;

    #[expect(clippy::cast_possible_truncation, reason = "the stream is cut into its halves")]
    pub fn words(&self) -> [u32; StepBlock::WORDS] {
        let Moments { beta1, beta2, epsilon, step_size, correction2_sqrt } = self.moments;
        let (stochastic, stream) = match self.rounding {
            StateRounding::Nearest => (0, 0),
            StateRounding::Stochastic { stream } => (1, stream),
        };
        [
            self.learning_rate.to_bits(),
            self.gradient_scale.to_bits(),
            beta1.to_bits(),
            beta2.to_bits(),
            epsilon.to_bits(),
            step_size.to_bits(),
            correction2_sqrt.to_bits(),
            self.momentum.to_bits(),
            u32::from(self.skip),
            stochastic,
            stream as u32,
            (stream >> 32) as u32,
        ]
    }

    /// For a segment with this decay.
    pub fn scalars(&self, weight_decay: f32) -> Scalars {
        Scalars { learning_rate: self.learning_rate, gradient_scale: self.gradient_scale, weight_decay }
    }
}
