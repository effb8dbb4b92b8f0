//! Uniform progress (Wu et al., "Can't Be Late", NSDI 2024): work is kept on the line from submission to the deadline.
//!
//! Spot whenever there is some; behind the line devices that stay, until two changeovers ahead of it; else waiting.

use hcrun_protocol::time::Span;

use super::{Choice, On, Rates, Rule, View};

#[derive(Debug, Clone, Copy)]
pub struct UniformProgress;

impl Rule for UniformProgress {
    fn choose(&mut self, view: &View, _rates: &Rates) -> Choice {
        let ahead = match view.on {
            On::Spot => return Choice::Spot,
            On::Steady => lead(view) >= hysteresis(view),
            On::Nothing => lead(view) >= 0.0,
        };
        match (view.on, ahead) {
            (On::Nothing, _) | (_, true) if view.may_start_spot() => Choice::Spot,
            (_, true) => Choice::Wait,
            (_, false) => Choice::Steady,
        }
    }

    fn again(&self, view: &View, choice: Choice) -> Option<Span> {
        let slope = view.work.as_secs_f64() / view.window.as_secs_f64();
        let secs = match choice {
            Choice::Spot => return None,
            Choice::Wait => lead(view) / slope,
            Choice::Steady => (hysteresis(view) - lead(view)) / (1.0 - slope).max(1e-3),
        };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "saturates at zero and at the top"
        )]
        Some(Span((secs * 1e6) as u64 + 1))
    }
}

/// Seconds of work ahead of the line.
fn lead(view: &View) -> f64 {
    let passed = view.window.saturating_sub(view.until_deadline).as_secs_f64();
    let done = view.work.saturating_sub(view.left).as_secs_f64();
    done - passed * view.work.as_secs_f64() / view.window.as_secs_f64()
}

/// How far ahead of the line, in seconds of work, devices that stay are given back. A changeover is the longer of both
/// ways: from asking, through provisioning, to the first step.
fn hysteresis(view: &View) -> f64 {
    let changeover = view.over_spot.max(view.over_steady).as_secs_f64();
    2.0 * changeover * view.work.as_secs_f64() / view.window.as_secs_f64()
}
