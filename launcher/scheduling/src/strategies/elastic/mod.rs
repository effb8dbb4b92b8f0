//! What elastic strategies share: the configurations of a job, what each is worth, and where it goes.

mod options;
mod whole;

pub(super) use options::{Choice, Configurations};
pub use whole::{FitsPool, WholeNodes};
