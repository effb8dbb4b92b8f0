//! What it will cost to finish, by work left and time to spare, if spot capacity comes and goes as a Markov chain.
//!
//! Dynamic programming on a grid: work left times slack, where slack is the time to the deadline less work left and,
//! unless the job holds devices that stay, less one changeover to them. In each step of the grid a job works on spot,
//! works on devices that stay, or waits. Every action leads to less work or less slack, so one sweep solves it exactly.

use super::Rates;

/// All lengths in steps of the grid.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Setting {
    /// Of one step.
    pub(super) hours: f64,
    pub(super) works: usize,
    pub(super) slacks: usize,
    pub(super) over_spot: f64,
    pub(super) over_steady: f64,
    /// Work that a loss takes back on average.
    pub(super) lost: f64,
    pub(super) price_spot: f64,
    pub(super) price_steady: f64,
}

/// Expected costs from a situation on, in device prices times steps.
#[derive(Debug, Clone)]
pub(super) struct CostToGo {
    setting: Setting,
    chances: Chances,
    /// By state of spot: down, up.
    idle: [Grid; 2],
    steady: [Grid; 2],
    spot: Grid,
}

/// Of one step.
#[derive(Debug, Clone, Copy)]
struct Chances {
    fall: f64,
    rise: f64,
    hit: f64,
    /// Lost before the first step.
    early: f64,
    /// That spot is down after a loss.
    down_if_lost: f64,
}

#[derive(Debug, Clone)]
struct Grid {
    values: Vec<f64>,
    slacks: usize,
}

impl Grid {
    fn new(setting: &Setting) -> Grid {
        Grid { values: vec![0.0; (setting.works + 1) * (setting.slacks + 1)], slacks: setting.slacks }
    }

    fn at(&self, work: usize, slack: usize) -> f64 {
        self.values[work * (self.slacks + 1) + slack]
    }

    fn set(&mut self, work: usize, slack: usize, value: f64) {
        self.values[work * (self.slacks + 1) + slack] = value;
    }

    /// Between slacks, by a straight line; at the ends of the grid the end itself.
    fn between(&self, work: usize, slack: f64) -> f64 {
        let slack = slack.clamp(0.0, self.slacks as f64);
        let below = floor(slack).min(self.slacks.saturating_sub(1));
        let part = slack - below as f64;
        let above = (below + 1).min(self.slacks);
        self.at(work, below) * (1.0 - part) + self.at(work, above) * part
    }

    fn read(&self, works: usize, work: f64, slack: f64) -> f64 {
        let work = work.clamp(0.0, works as f64);
        let below = floor(work).min(works.saturating_sub(1));
        let part = work - below as f64;
        let above = (below + 1).min(works);
        self.between(below, slack) * (1.0 - part) + self.between(above, slack) * part
    }
}

impl CostToGo {
    pub(super) fn solve(setting: Setting, rates: &Rates) -> CostToGo {
        let chance = |rate: f64, steps: f64| 1.0 - libm::exp(-rate * setting.hours * steps);
        let leaves = rates.fall + rates.hit;
        let any = chance(leaves, 1.0);
        let chances = Chances {
            fall: any * rates.fall / leaves.max(1e-12),
            rise: chance(rates.rise, 1.0),
            hit: any * rates.hit / leaves.max(1e-12),
            early: chance(leaves, setting.over_spot),
            down_if_lost: rates.fall / leaves.max(1e-12),
        };
        let grid = || Grid::new(&setting);
        let mut table =
            CostToGo { setting, chances, idle: [grid(), grid()], steady: [grid(), grid()], spot: grid() };
        for work in 1..=setting.works {
            for slack in 0..=setting.slacks {
                table.fill(work, slack);
            }
        }
        table
    }

    fn fill(&mut self, work: usize, slack: usize) {
        let Setting { price_spot, price_steady, lost, over_steady, .. } = self.setting;
        let Chances { fall, hit, .. } = self.chances;
        let spare = slack as f64;
        let after_loss = spare - lost;
        let spot = price_spot
            + (1.0 - fall - hit) * self.spot.at(work - 1, slack)
            + fall * self.idle[0].between(work - 1, after_loss)
            + hit * self.idle[1].between(work - 1, after_loss);
        self.spot.set(work, slack, spot);
        for up in [0, 1] {
            let mut best = price_steady + self.mix(&self.steady, up, work - 1, spare);
            if up == 1 && spare >= self.setting.over_spot + over_steady {
                best = best.min(self.start_spot(work as f64, spare - over_steady));
            }
            if over_steady >= 1.0 && spare >= over_steady {
                best = best.min(self.idle[up].between(work, spare - over_steady));
            }
            self.steady[up].set(work, slack, best);
        }
        for up in [0, 1] {
            let mut best = price_steady * over_steady + self.steady[up].at(work, slack);
            if slack >= 1 {
                best = best.min(self.mix(&self.idle, up, work, spare - 1.0));
            }
            if up == 1 && spare >= self.setting.over_spot {
                best = best.min(self.start_spot(work as f64, spare));
            }
            self.idle[up].set(work, slack, best);
        }
    }

    /// The expectation over what spot does in one step.
    fn mix(&self, grids: &[Grid; 2], up: usize, work: usize, slack: f64) -> f64 {
        let to_up = if up == 1 { 1.0 - self.chances.fall } else { self.chances.rise };
        to_up * grids[1].between(work, slack) + (1.0 - to_up) * grids[0].between(work, slack)
    }

    /// Slack is counted as for a job that holds nothing.
    fn start_spot(&self, work: f64, slack: f64) -> f64 {
        let Setting { over_spot, price_spot, works, .. } = self.setting;
        let early = self.chances.early;
        // Lost half way, on average; at least a step earlier on the grid, so that the sweep has been there.
        let wasted = (over_spot / 2.0).max(1.0);
        let started = over_spot * price_spot + self.spot.read(works, work, slack - over_spot);
        if early == 0.0 {
            return started;
        }
        let (down, up) = (&self.idle[0], &self.idle[1]);
        let left = (slack - wasted).max(0.0);
        let then = self.chances.down_if_lost * down.read(works, work, left)
            + (1.0 - self.chances.down_if_lost) * up.read(works, work, left);
        let lost = over_spot / 2.0 * price_spot + then;
        (1.0 - early) * started + early * lost
    }

    /// For a job that holds nothing while spot is `up`.
    pub(super) fn idle_costs(&self, up: bool, work: f64, slack: f64) -> Costs {
        let (up_index, works) = (usize::from(up), self.setting.works);
        let steady = self.setting.price_steady * self.setting.over_steady
            + self.steady[up_index].read(works, work, slack);
        let to_up = if up { 1.0 - self.chances.fall } else { self.chances.rise };
        let wait = to_up * self.idle[1].read(works, work, slack - 1.0)
            + (1.0 - to_up) * self.idle[0].read(works, work, slack - 1.0);
        let spot = if up { self.start_spot(work, slack) } else { f64::INFINITY };
        Costs { spot, steady, wait: if slack >= 1.0 { wait } else { f64::INFINITY } }
    }

    /// For a job that holds devices which stay; `slack` keeps nothing back.
    pub(super) fn steady_costs(&self, up: bool, work: f64, slack: f64) -> Costs {
        let (up_index, works) = (usize::from(up), self.setting.works);
        let idle_slack = slack - self.setting.over_steady;
        let spot = if up && idle_slack >= self.setting.over_spot {
            self.start_spot(work, idle_slack)
        } else {
            f64::INFINITY
        };
        let wait =
            if idle_slack >= 1.0 { self.idle[up_index].read(works, work, idle_slack) } else { f64::INFINITY };
        let to_up = if up { 1.0 - self.chances.fall } else { self.chances.rise };
        let steady = self.setting.price_steady
            + to_up * self.steady[1].read(works, work - 1.0, slack)
            + (1.0 - to_up) * self.steady[0].read(works, work - 1.0, slack);
        Costs { spot, steady, wait }
    }
}

/// Of each choice; infinite where there is none.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Costs {
    pub(super) spot: f64,
    pub(super) steady: f64,
    pub(super) wait: f64,
}

fn floor(number: f64) -> usize {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to the grid before")]
    let below = number as usize;
    below
}
