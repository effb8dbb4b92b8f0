//! `demand`: devices go where one more dollar buys most goodput.
//!
//! Each job has a worth for every configuration: a concave function of its goodput, in devices that work as well as a
//! single one would. Devices are dealt one upgrade at a time to the job whose worth grows most per dollar, until nothing
//! more grows or fits. What a job would lose by another start is taken off every configuration but the one that it
//! holds, so a change must be worth its restart: that is the hysteresis.
//!
//! It knows speeds on all devices, as a profile or a fitted model gives them, and the service that a job has received,
//! but not how much there is left to do, unless it is told to weigh by estimates ([`Weight::Left`]).

use hcrun_protocol::time::Span;

use super::elastic::{
    Choice, Claim, Claims, Configurations, Grants, Offer, deal, holds, left_of, restart_factor,
};
use crate::fleet::PoolSet;
use crate::job::JobIndex;
use crate::state::{Job, State};
use crate::strategy::{Size, Want};

/// Which jobs count more than others.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Weight {
    /// None but by [`crate::JobSpec::weight`].
    Equal,
    /// Those that have had little: (1 + attained / scale) ^ -power. Jobs of unknown length tend to be short if they have
    /// not run long yet. `scale` is device time.
    Attained { scale: Span, power: f64 },
    /// Those with little left by their estimate: device seconds left ^ -power.
    Left { power: f64 },
}

#[derive(Debug, Clone, PartialEq)]
pub struct Tuning {
    /// Of worth as a function of goodput: 0 counts goodput as it is, 1 its logarithm, 2 the time that a unit of work
    /// takes; the higher, the more evenly goodput is dealt.
    pub fairness: f64,
    pub weight: Weight,
    /// For how long devices are expected to stay with a job: what a start costs is spread over it.
    pub horizon: Span,
    /// Dollars per device and hour by pool; where there is none, those of the fleet.
    pub prices: Vec<f64>,
}

impl Default for Tuning {
    fn default() -> Tuning {
        let weight = Weight::Attained { scale: Span::from_secs(4 * 3_600), power: 0.5 };
        Tuning { fairness: 0.5, weight, horizon: Span::from_secs(300), prices: Vec::new() }
    }
}

#[derive(Debug, Clone, Default)]
pub struct Demand {
    tuning: Tuning,
    configurations: Configurations,
    grants: Grants,
}

impl Demand {
    pub fn new(tuning: Tuning) -> Demand {
        Demand { tuning, ..Demand::default() }
    }
}

impl Size for Demand {
    fn is_joint(&self) -> bool {
        true
    }

    fn is_elastic(&self) -> bool {
        true
    }

    fn prepare(&mut self, state: &State, active: &[(JobIndex, PoolSet)]) {
        let tuning = &self.tuning;
        let claim = |index, job: &Job, choices: &[Choice]| tuning.claim(state, index, job, choices);
        let mut claims = Claims::new(&mut self.configurations, state, active, claim);
        deal(&mut claims.claims, claims.open.clone());
        self.grants = claims.grants();
    }

    fn size(&self, _state: &State, index: JobIndex, _job: &Job) -> Result<Want, &'static str> {
        self.grants.want(index)
    }
}

impl Tuning {
    fn claim(&self, state: &State, index: JobIndex, job: &Job, choices: &[Choice]) -> Claim {
        // The speed per device where a device does most.
        let per_device =
            choices.iter().map(|choice| choice.rate / f64::from(choice.devices)).fold(0.0, f64::max);
        let weight = job.spec.weight * self.weight(state, job, per_device);
        let factor = restart_factor(state, job) * left_of(self.horizon, job);
        let offer = |choice: &Choice| {
            let kept = if holds(state, job, choice) { 1.0 } else { factor };
            let worth = weight * self.worth(kept * choice.rate / per_device);
            Offer { choice: *choice, worth, cost: self.price(state, choice) * f64::from(choice.devices) }
        };
        let offers = choices.iter().map(offer).collect();
        Claim { index, offers, nothing: weight * self.worth(0.0), granted: None }
    }

    fn weight(&self, state: &State, job: &Job, per_device: f64) -> f64 {
        match self.weight {
            Weight::Equal => 1.0,
            Weight::Attained { scale, power } => {
                let attained = job.attained(state.now()) as f64 / (scale.0 as f64).max(1.0);
                libm::pow(1.0 + attained, -power)
            }
            Weight::Left { power } => {
                let left = job.estimated_left(state.now()).as_secs_f64() / per_device;
                libm::pow(left.max(1.0), -power)
            }
        }
    }

    /// Of the goodput of so many devices that work as well as one.
    fn worth(&self, devices: f64) -> f64 {
        // A thousandth of a device keeps the worth of nothing finite.
        let devices = devices + 1e-3;
        match 1.0 - self.fairness {
            0.0 => libm::log(devices),
            power => libm::pow(devices, power) / power,
        }
    }

    fn price(&self, state: &State, choice: &Choice) -> f64 {
        let own = self.prices.get(choice.pool.index()).copied();
        // What is free is not worth infinitely much.
        own.unwrap_or_else(|| state.fleet.costs.weight(choice.pool)).max(1e-6)
    }
}
