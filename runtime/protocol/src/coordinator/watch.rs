//! Whether a worker is alive and gets on.
//!
//! Silent: no message for the silence limit. Stalled: its progress counter stands still for
//! max(`detect_within`, 8 × its longest gap so far) although it waits for nobody.

use super::FailureKind;
use crate::control::Activity;
use crate::time::{Span, Time};

/// A pause eight times the longest seen is a standstill, not a slow step.
const STALL_FACTOR: u64 = 8;

/// Four heartbeats.
const MISSED: Span = Span::from_millis(1_000);

#[derive(Debug)]
pub(super) struct Watch {
    silence_limit: Span,
    stall_floor: Span,
    heard: Time,
    progress: u64,
    moved: Time,
    longest_gap: Span,
    activity: Activity,
}

impl Watch {
    pub(super) fn new(now: Time, silence_limit: Span, stall_floor: Span) -> Watch {
        Watch {
            silence_limit,
            stall_floor,
            heard: now,
            progress: 0,
            moved: now,
            longest_gap: Span::default(),
            activity: Activity::Preparing,
        }
    }

    pub(super) fn hear(&mut self, now: Time) {
        self.heard = now;
    }

    /// How long nothing was heard, if heartbeats are missing.
    pub(super) fn missed(&self, now: Time) -> Option<Span> {
        let silence = now.since(self.heard);
        (silence > MISSED).then_some(silence)
    }

    /// A fresh chance.
    pub(super) fn excuse(&mut self, now: Time) {
        self.heard = now;
        self.moved = now;
    }

    pub(super) fn beat(&mut self, now: Time, progress: u64, activity: Activity) {
        self.heard = now;
        let moved = progress != self.progress || activity != self.activity;
        // Waiting and preparing are not this worker's gaps.
        if moved || activity != Activity::Computing {
            if moved && self.activity == Activity::Computing {
                self.longest_gap = self.longest_gap.max(now.since(self.moved));
            }
            self.moved = now;
        }
        self.progress = progress;
        self.activity = activity;
    }

    pub(super) fn deadline(&self, training: bool) -> Time {
        let silence = self.heard + self.silence_limit;
        if self.may_stall(training) { silence.min(self.moved + self.stall_limit()) } else { silence }
    }

    fn may_stall(&self, training: bool) -> bool {
        training && self.activity == Activity::Computing
    }

    fn stall_limit(&self) -> Span {
        self.stall_floor.max(self.longest_gap.saturating_mul(STALL_FACTOR))
    }

    pub(super) fn verdict(&self, now: Time, training: bool) -> Option<(FailureKind, String)> {
        if now >= self.heard + self.silence_limit {
            let text = format!("no heartbeat for {}", now.since(self.heard));
            return Some((FailureKind::Silent, text));
        }
        if self.may_stall(training) && now >= self.moved + self.stall_limit() {
            let text = format!("no progress for {} although it waits for nobody", now.since(self.moved));
            return Some((FailureKind::Stalled, text));
        }
        None
    }
}
