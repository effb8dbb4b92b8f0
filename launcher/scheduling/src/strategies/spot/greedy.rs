//! Spot until the last safe moment, then devices that stay until the end.

use hcrun_protocol::time::Span;

use super::{Choice, On, Rates, Rule, View};

#[derive(Debug, Clone, Copy)]
pub struct Greedy;

impl Rule for Greedy {
    fn choose(&mut self, view: &View, _rates: &Rates) -> Choice {
        match view.on {
            On::Steady => Choice::Steady,
            On::Spot => Choice::Spot,
            On::Nothing if view.may_start_spot() => Choice::Spot,
            On::Nothing => Choice::Wait,
        }
    }

    fn again(&self, _view: &View, _choice: Choice) -> Option<Span> {
        None
    }
}
