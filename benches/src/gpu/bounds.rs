//! What kernels must reach, said for one card only.

use super::report::{Bound, Report};

/// Of the H100 with HBM3: neither that of PCIe, nor a part of one (MIG), has its memory.
const ITS_NAME: &str = "NVIDIA H100 80GB HBM3";

/// Kernel and bytes a second.
const ON_AN_H100: [(&str, f64); 2] = [("adamw", 2.7e12), ("pack_int8", 2.5e12)];

pub(super) fn bounds(report: &Report) -> Vec<Bound> {
    ON_AN_H100.map(|(kernel, bound)| bound_of(report.card(), kernel, bound, report.rate(kernel))).into()
}

fn bound_of(card: &str, kernel: &'static str, at_least_bytes_per_s: f64, rate: Option<f64>) -> Bound {
    let is_asked = card == ITS_NAME;
    let found = match (is_asked, rate) {
        (false, _) => format!("not asked of a {card}"),
        (true, None) => "not measured".to_owned(),
        (true, Some(rate)) => format!("{:.2} TB/s", rate / 1e12),
    };
    let holds = rate.filter(|_| is_asked).map(|rate| rate >= at_least_bytes_per_s);
    Bound { kernel, at_least_bytes_per_s, is_asked, holds, found }
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
        for other in ["NVIDIA A100-SXM4-40GB", "NVIDIA H100 PCIe", "NVIDIA H100 80GB HBM3 MIG 1g.10gb"] {
            assert_eq!(holds(other, Some(1.0e12)), None, "{other}");
        }
    }
}
