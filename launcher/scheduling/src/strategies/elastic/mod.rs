//! What elastic strategies share: the configurations of a job, what each is worth, and where it goes.

mod admit;
mod claim;
mod deal;
mod options;
mod whole;

pub use admit::LeastFitsPool;
pub(super) use claim::{Claim, Claims, Grants, Offer, holds, left_of, restart_factor};
pub(super) use deal::deal;
pub(super) use options::{Choice, Configurations};
pub use whole::WholeNodes;
