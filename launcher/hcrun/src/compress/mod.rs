//! What compressing a model costs: evaluation on held-out rows that may be opened here, speed, bytes.

pub(crate) mod evaluation;
pub(crate) mod held_out;
pub(crate) mod report;
pub(crate) mod timing;
