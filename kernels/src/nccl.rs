//! Collectives among the GPUs of a node, left to NVIDIA's library.
//!
//! Nothing of NCCL is linked: [`find()`] opens it at run time and says in words why it cannot be used. A
//! [`Communicator`] never blocks inside the library, and every wait on it has a deadline; after a failure it is
//! aborted and refuses what comes later. [`Group`] is the step of a schedule that is left to NCCL.
//!
//! NCCL adds in an order of its own: its sums equal those of [`crate::reduce`] within rounding, not to the bit.
//! All ranks of a communicator hold the same bits. More: `docs/gpu.md`, `docs/adr/0022-nccl-by-own-loader.md`.

#[allow(
    unsafe_code,
    unreachable_pub,
    dead_code,
    non_camel_case_types,
    non_snake_case,
    non_upper_case_globals,
    clippy::all,
    reason = "generated"
)]
mod bindings;
mod caller;
mod communicator;
mod error;
mod find;
mod group;
mod node;
mod operation;
mod stream;
mod unique_id;

pub use communicator::{Abort, Communicator};
pub use error::{Cause, CommunicatorError, NcclError};
pub use find::{Nccl, NcclUnavailable, NcclVersion, Refusal, find, open};
pub use group::{Group, GroupError, Owned};
pub use node::stay_on_this_node;
pub use operation::{Operation, Span, Unfit};
pub use stream::DeviceStream;
pub use unique_id::UniqueId;
