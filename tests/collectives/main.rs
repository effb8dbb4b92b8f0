//! Collectives over real QUIC on loopback: every rank is a thread of this process.
//!
//! All axes in full: `cargo xtask matrix`.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![expect(clippy::print_stdout, reason = "a long run says how far it is")]

mod bits;
mod codecs;
mod in_flight;
mod matrix;
mod mismatches;
mod programs;
mod ranks;
mod subgroups;
mod values;
