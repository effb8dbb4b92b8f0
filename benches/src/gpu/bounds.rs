//! What kernels must reach, said for one card only.

use super::measured::ELEMS;
use super::report::{Bound, Report};

/// Of the H100 with HBM3: neither that of PCIe, nor a part of one (MIG), has its memory.
const ITS_NAME: &str = "NVIDIA H100 80GB HBM3";

/// Kernel and bytes a second.
const ON_AN_H100: [(&str, f64); 2] = [("adamw", 2.7e12), ("pack_int8", 2.5e12)];

pub(super) fn bounds(report: &Report) -> Vec<Bound> {
    let unasked = if report.card() != ITS_NAME {
        Some(format!("not asked of a {}", report.card()))
    } else if report.arena_elems < ELEMS as u64 {
        Some(format!("not asked of {} elements, which caches may hold", report.arena_elems))
    } else {
        None
    };
    ON_AN_H100.map(|(kernel, bound)| bound_of(unasked.clone(), kernel, bound, report.rate(kernel))).into()
}

/// `unasked` says why it is not asked here.
fn bound_of(
    unasked: Option<String>,
    kernel: &'static str,
    at_least_bytes_per_s: f64,
    rate: Option<f64>,
) -> Bound {
    let is_asked = unasked.is_none();
    let found = unasked
        .unwrap_or_else(|| rate.map_or("not measured".to_owned(), |rate| format!("{:.2} TB/s", rate / 1e12)));
    let holds = rate.filter(|_| is_asked).map(|rate| rate >= at_least_bytes_per_s);
    Bound { kernel, at_least_bytes_per_s, is_asked, holds, found }
}

#[cfg(test)]
mod tests {
    use super::*;

    use super::super::report::report_of;

    #[test]
    fn a_bound_is_asked_of_its_card_only() {
        let report = |card: &str, rate: u64| {
            let mut report = report_of(card);
            report.rate_is("adamw", rate);
            bounds(&report)[0].holds
        };
        assert_eq!(report(ITS_NAME, 2_800_000_000_000), Some(true));
        assert_eq!(report(ITS_NAME, 2_600_000_000_000), Some(false));
        for other in ["NVIDIA A100-SXM4-40GB", "NVIDIA H100 PCIe", "NVIDIA H100 80GB HBM3 MIG 1g.10gb"] {
            assert_eq!(report(other, 1), None, "{other}");
        }
    }

    #[test]
    fn a_bound_is_not_asked_of_what_caches_may_hold() {
        let mut report = report_of(ITS_NAME);
        report.rate_is("adamw", 1);
        report.arena_elems = ELEMS as u64 - 1;
        let bound = &bounds(&report)[0];
        assert!(!bound.is_asked && bound.holds.is_none(), "{}", bound.found);
    }
}
