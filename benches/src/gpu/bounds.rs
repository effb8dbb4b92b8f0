//! What kernels must reach, said for one card only.

use super::report::{Bound, Report};

/// Kernel and bytes a second, on an H100.
const ON_AN_H100: [(&str, f64); 2] = [("adamw", 2.7e12), ("pack_int8", 2.5e12)];

pub(super) fn bounds(report: &Report) -> Vec<Bound> {
    ON_AN_H100.map(|(kernel, bound)| bound_of(report.card(), kernel, bound, report.rate(kernel))).into()
}

fn bound_of(card: &str, kernel: &'static str, at_least_bytes_per_s: f64, rate: Option<f64>) -> Bound {
    let is_said = card.contains("H100");
    let found = match (is_said, rate) {
        (false, _) => format!("not asked of a {card}"),
        (true, None) => "not measured".to_owned(),
        (true, Some(rate)) => format!("{:.2} TB/s", rate / 1e12),
    };
    let holds = rate.filter(|_| is_said).map(|rate| rate >= at_least_bytes_per_s);
    Bound { kernel, at_least_bytes_per_s, holds, found }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_is_asked_of_its_card_only() {
        let holds = |card, rate| bound_of(card, "adamw", 2.7e12, rate).holds;
        assert_eq!(holds("NVIDIA H100 80GB HBM3", Some(2.8e12)), Some(true));
        assert_eq!(holds("NVIDIA H100 80GB HBM3", Some(2.6e12)), Some(false));
        assert_eq!(holds("NVIDIA H100 80GB HBM3", None), None);
        assert_eq!(holds("NVIDIA A100-SXM4-40GB", Some(1.0e12)), None);
    }
}
