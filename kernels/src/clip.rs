//! Clipping by the global norm, decided alike on every rank from the gathered norm partials.

/// What the gathered norm says about one step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Clip {
    /// Norm of the mean gradient, before clipping.
    pub norm: f64,
    /// What gradient sums are multiplied by: clip factor over global weight.
    pub gradient_scale: f32,
    /// The gradient is not finite, or no sample had any weight: the step changes nothing.
    pub skip: bool,
}

/// Clip factor and skip flag from the sum of squares of the summed gradient.
///
/// `sum_of_squares` is [`crate::reduce::fold_partials`] of the reduced gradient, `weight` the global weight of the step,
/// `limit` the job's `train.clip`, 0 for none. The factor is PyTorch's `limit / (norm + 1e-6)`, at most 1.
#[expect(clippy::cast_possible_truncation, reason = "the scale is rounded once, to f32")]
pub fn clip(sum_of_squares: f64, weight: f64, limit: f64) -> Clip {
    let norm = sum_of_squares.sqrt() / weight;
    let factor = if limit > 0.0 { (limit / (norm + 1e-6)).min(1.0) } else { 1.0 };
    let gradient_scale = (factor / weight) as f32;
    let skip = !sum_of_squares.is_finite() || !norm.is_finite() || !gradient_scale.is_finite();
    Clip { norm, gradient_scale, skip }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clipped_gradient_has_the_norm_of_the_limit() {
        let sums = [30.0_f64, -40.0];
        let squares: f64 = sums.iter().map(|x| x * x).sum();
        let clipped = clip(squares, 10.0, 0.5);
        assert_eq!(clipped.norm, 5.0);
        let norm = squares.sqrt() * f64::from(clipped.gradient_scale);
        assert!((norm - 0.5).abs() < 1e-6);
        assert_eq!(clip(squares, 10.0, 7.0).gradient_scale, 0.1);
        assert_eq!(clip(squares, 10.0, 0.0).gradient_scale, 0.1);
    }

    #[test]
    fn what_is_not_finite_is_skipped() {
        for (squares, weight) in [(f64::NAN, 1.0), (f64::INFINITY, 1.0), (0.0, 0.0), (1.0, 0.0)] {
            assert!(clip(squares, weight, 1.0).skip, "{squares} over {weight}");
        }
        assert!(!clip(0.0, 3.0, 1.0).skip);
    }
}
