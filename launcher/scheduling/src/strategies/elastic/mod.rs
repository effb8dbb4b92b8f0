//! What elastic strategies share: the configurations of a job, what each is worth, and where it goes.

mod claim;
mod options;
mod whole;

pub(super) use claim::{Claim, Grants, Offer, claims, holds, left_of, open, restart_factor};
pub(super) use options::{Choice, Configurations};
pub use whole::{FitsPool, WholeNodes};
