//! Collectives over links that delay, lose, reorder, throttle and fall silent: real QUIC between lanes of one
//! process, through the emulator in front of their sockets.
//!
//! Whatever a link does short of falling silent, all ranks end with the very bits that a sum in the fixed order has.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod congestion;
mod cut;
mod exact;
mod leave;
mod staging;
mod windows;
mod world;
