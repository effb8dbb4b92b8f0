//! What the ratios to PyTorch are held to.

use std::fmt;

use serde::Serialize;

use super::Row;

/// One bound and how a run stands to it.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Verdict {
    pub(crate) what: &'static str,
    /// Times the peer's rate, at the least.
    pub(crate) bound: f64,
    pub(crate) got: f64,
    pub(crate) kept: bool,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = if self.kept { "kept" } else { "MISSED" };
        write!(f, "{word}: {}: {:.3} times PyTorch's rate, bound {:.3}", self.what, self.got, self.bound)
    }
}

const RATIOS: &[(&str, f64)] = &[("gpt", 1.1), ("gpt-bf16", 1.0), ("mlp", 5.0), ("adamw", 1.0)];

pub(super) fn judge(rows: &[Row]) -> Vec<Verdict> {
    let judge_row = |row: &Row| {
        let (what, bound) = RATIOS.iter().find(|(name, _)| *name == row.name)?;
        let got = row.ratio?;
        Some(Verdict { what, bound: *bound, got, kept: got >= *bound })
    };
    rows.iter().filter_map(judge_row).collect()
}
