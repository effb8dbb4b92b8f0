//! The learning rate as a function of the step; the same bits on every rank.

use hcrun_protocol::job::{LearningRateSchedule, Train};

/// The rate of the update of `step`, counted from 0.
///
/// Rises along a line over `warmup_steps` and reaches the peak with their last; then falls along the
/// schedule, which would arrive at `final_learning_rate` with step `train.steps`.
pub fn learning_rate(train: &Train, step: u64) -> f64 {
    let (peak, end) = (train.learning_rate, train.final_learning_rate);
    if step < train.warmup_steps {
        return peak * (step + 1) as f64 / train.warmup_steps as f64;
    }
    let falling_steps = train.steps.saturating_sub(train.warmup_steps).max(1);
    let progress = ((step - train.warmup_steps) as f64 / falling_steps as f64).min(1.0);
    match train.schedule {
        LearningRateSchedule::Constant => peak,
        LearningRateSchedule::Linear => peak + (end - peak) * progress,
        LearningRateSchedule::Cosine => {
            end + (peak - end) * 0.5 * (1.0 + libm::cos(std::f64::consts::PI * progress))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::optimizer::tests::train;
    use hcrun_protocol::job::Optimizer;

    #[test]
    fn rates_rise_to_the_peak_and_fall_to_the_end() {
        let mut train = train(Optimizer::Sgd);
        (train.learning_rate, train.final_learning_rate) = (1.0, 0.2);
        (train.warmup_steps, train.steps) = (4, 12);
        for (schedule, middle, last) in [
            (LearningRateSchedule::Constant, 1.0, 1.0),
            (LearningRateSchedule::Linear, 0.6, 0.2),
            (LearningRateSchedule::Cosine, 0.6, 0.2),
        ] {
            train.schedule = schedule;
            assert_eq!([0, 1, 3, 4].map(|step| learning_rate(&train, step)), [0.25, 0.5, 1.0, 1.0]);
            assert!((learning_rate(&train, 8) - middle).abs() < 1e-12);
            assert!((learning_rate(&train, 12) - last).abs() < 1e-12);
            assert!((learning_rate(&train, 99) - last).abs() < 1e-12);
        }
    }
}
