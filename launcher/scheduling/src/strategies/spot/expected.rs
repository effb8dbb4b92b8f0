//! The choice with the least expected cost, by what was seen of spot capacity so far.

use hcrun_protocol::time::Span;

use super::cost_to_go::{CostToGo, Costs, Setting};
use super::{Choice, On, Rates, Rule, View};

/// Tables are kept by setting and by rates, rounded so that a small change of an estimate does not ask for a new one.
#[derive(Debug, Default)]
pub struct LeastExpectedCost {
    tables: Vec<(Setting, [i32; 3], CostToGo)>,
}

impl LeastExpectedCost {
    fn costs(&mut self, view: &View, rates: &Rates) -> Costs {
        let (setting, step) = setting(view);
        let rounded = [rates.fall, rates.rise, rates.hit].map(level);
        let known = self.tables.iter().position(|(at, levels, _)| *at == setting && *levels == rounded);
        let index = known.unwrap_or_else(|| {
            let [fall, rise, hit] = rounded.map(rate_of);
            if self.tables.len() == MAX_TABLES {
                self.tables.remove(0);
            }
            self.tables.push((setting, rounded, CostToGo::solve(setting, &Rates { fall, rise, hit })));
            self.tables.len() - 1
        });
        let table = &self.tables[index].2;
        let (work, slack) = (view.left.as_secs_f64() / step, view.margin.as_secs_f64() / step);
        match view.on {
            On::Steady => table.steady_costs(view.spot_is_up(), work, slack),
            On::Spot | On::Nothing => table.idle_costs(view.spot_is_up(), work, slack),
        }
    }
}

impl Rule for LeastExpectedCost {
    fn choose(&mut self, view: &View, rates: &Rates) -> Choice {
        if view.on == On::Spot {
            return Choice::Spot;
        }
        let Costs { mut spot, steady, mut wait } = self.costs(view, rates);
        if !view.may_start_spot() {
            spot = f64::INFINITY;
        }
        if view.on == On::Steady && !view.may_leave_steady() {
            wait = f64::INFINITY;
        }
        if spot <= steady && spot <= wait {
            Choice::Spot
        } else if wait < steady {
            Choice::Wait
        } else {
            Choice::Steady
        }
    }

    fn again(&self, view: &View, choice: Choice) -> Option<Span> {
        (choice != Choice::Spot).then(|| step(view))
    }
}

fn setting(view: &View) -> (Setting, f64) {
    let step = step(view).as_secs_f64();
    let steps = |span: Span| span.as_secs_f64() / step;
    let whole = |span: Span| {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most GRID steps")]
        let steps = libm::ceil(steps(span)).min(GRID as f64) as usize;
        steps.max(1)
    };
    let setting = Setting {
        hours: step / 3_600.0,
        works: whole(view.work),
        slacks: whole(view.window.saturating_sub(view.work)),
        over_spot: steps(view.over_spot),
        over_steady: steps(view.over_steady),
        lost: steps(view.at_risk) / 2.0,
        price_spot: view.price_spot / view.price_steady,
        price_steady: 1.0,
    };
    (setting, step)
}

/// A step of the grid: short enough to tell a changeover, long enough for the grid to stay small.
fn step(view: &View) -> Span {
    let shortest = Span(view.window.0 / GRID as u64);
    Span((view.over_spot.0).max(shortest.0).max(60_000_000))
}

/// Rates are rounded to powers of this.
const LEVEL: f64 = 1.4;

fn level(rate: f64) -> i32 {
    #[expect(clippy::cast_possible_truncation, reason = "logarithms are small")]
    let level = libm::round(libm::log(rate.max(1e-6)) / libm::log(LEVEL)) as i32;
    level
}

fn rate_of(level: i32) -> f64 {
    libm::pow(LEVEL, f64::from(level))
}

/// Most steps of a grid, each way.
const GRID: usize = 250;
/// Oldest tables are forgotten beyond this.
const MAX_TABLES: usize = 64;
