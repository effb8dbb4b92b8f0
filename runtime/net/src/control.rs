//! Control links: a worker and the coordinator, messages both ways and segments of checkpoints.
//!
//! One bidirectional stream of frames. That a link exists says that both ends have proven who they are; it
//! does not say that the worker was taken: joining is the caller's hello and welcome.

mod frame;
mod link;
mod listener;

pub use frame::{Frame, FrameError, MESSAGE_LIMIT, SEGMENT_LIMIT};
pub use link::{ConnectError, ControlCounters, ControlLink, ControlReceiver, ControlSender, LinkError};
pub use listener::{AcceptError, ControlListener};

#[cfg(test)]
mod tests;
