//! Workers that somebody else starts: by join bundle, on hosts with addresses of their own.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod doors;
mod hosts;
mod losses;
mod party;
mod preflight;
