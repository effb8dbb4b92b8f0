//! Rehearsal: the machines of protocol in a world of virtual time, slow links and crashes.
//!
//! A [`World`] owns a clock, an event queue and a seeded generator; everything that happens follows from the
//! seed, so a failing seed is a replay. What is rehearsed is a [`Node`]: a machine and the little that drives
//! it: [`rounds`] drives [`Round`](hcrun_protocol::round::Round), [`membership`] drives
//! [`Coordinator`](hcrun_protocol::coordinator::Coordinator) and [`Member`](hcrun_protocol::member::Member).

pub mod membership;
pub mod memory;
pub mod network;
pub mod rounds;
pub mod world;

pub use network::{Fault, Link};
pub use world::{Node, Outbox, World};
