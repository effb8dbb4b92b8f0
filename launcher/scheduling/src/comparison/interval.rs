//! Confidence intervals over seeds.

use serde::Serialize;

/// A mean with the half-width of its 95 % confidence interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Interval {
    pub mean: f64,
    /// None for fewer than two values.
    pub half_width: Option<f64>,
}

/// Of values over seeds, by Student's t.
pub fn mean_interval(values: &[f64]) -> Interval {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count.max(1.0);
    let half_width = (values.len() >= 2).then(|| {
        let squares: f64 = values.iter().map(|value| (value - mean) * (value - mean)).sum();
        t_95(values.len() - 1) * (squares / (count - 1.0) / count).sqrt()
    });
    Interval { mean, half_width }
}

/// Of the differences `values - baseline`, seed by seed: what both have in common cancels out.
pub fn paired_interval(values: &[f64], baseline: &[f64]) -> Interval {
    let differences: Vec<f64> = values.iter().zip(baseline).map(|(value, base)| value - base).collect();
    mean_interval(&differences)
}

/// Two-sided 95 % quantile of Student's t distribution.
fn t_95(degrees_of_freedom: usize) -> f64 {
    const TABLE: [f64; 30] = [
        12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145,
        2.131, 2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048,
        2.045, 2.042,
    ];
    match degrees_of_freedom {
        0 => f64::INFINITY,
        few if few <= 30 => TABLE[few - 1],
        31..=60 => 2.042 - (2.042 - 2.000) * (degrees_of_freedom as f64 - 30.0) / 30.0,
        _ => 2.000 - (2.000 - 1.960) * (1.0 - 60.0 / degrees_of_freedom as f64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_is_students() {
        let Interval { mean, half_width } = mean_interval(&[1.0, 2.0, 3.0, 4.0, 5.0]);
        assert_eq!(mean, 3.0);
        // 2.776 x sqrt(2.5 / 5)
        assert!((half_width.unwrap() - 1.963).abs() < 1e-3);
        assert_eq!(mean_interval(&[7.0]).half_width, None);
    }

    #[test]
    fn what_both_have_in_common_cancels_out() {
        let (a, b) = ([10.0, 200.0, 3_000.0], [11.0, 201.0, 3_001.0]);
        assert_eq!(paired_interval(&b, &a), Interval { mean: 1.0, half_width: Some(0.0) });
    }
}
