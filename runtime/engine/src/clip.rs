//! Clipping by the global norm, decided alike on every rank from the gathered norm partials.

pub use hcrun_kernels::clip::{Clip, clip};
pub use hcrun_kernels::reduce::{fold_partials, norm_partials};
