//! Devices go where one more dollar buys most goodput (`demand`).

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use hcrun_protocol::time::Span;

use super::elastic::{Choice, Configurations};
use crate::fleet::PoolSet;
use crate::job::JobIndex;
use crate::state::{Job, Phase, State};
use crate::strategy::{Key, Size, Want};

#[derive(Debug, Clone, PartialEq)]
pub struct Tuning {
    pub power: f64,
    pub attained: f64,
    pub attained_offset: f64,
    pub horizon: f64,
    pub age_factor: f64,
    pub mode: u32,
    /// Dollars per device and hour, by pool; empty: all alike.
    pub prices: Vec<f64>,
}

impl Default for Tuning {
    fn default() -> Tuning {
        Tuning { power: 1.0, attained: 0.0, attained_offset: 3600.0, horizon: 300.0, age_factor: 1.0, mode: 0, prices: Vec::new() }
    }
}

#[derive(Debug, Clone, Default)]
pub struct Demand {
    tuning: Tuning,
    configurations: Configurations,
    wants: Vec<(JobIndex, Choice)>,
}

impl Demand {
    pub fn new(tuning: Tuning) -> Demand {
        Demand { tuning, ..Demand::default() }
    }
}

struct Claim {
    index: JobIndex,
    options: Vec<(Choice, f64, f64)>, // worth, cost
    chosen: Option<usize>,
    floor: f64,
}

impl Size for Demand {
    fn is_joint(&self) -> bool {
        true
    }

    fn is_elastic(&self) -> bool {
        true
    }

    fn prepare(&mut self, state: &State, active: &[(JobIndex, PoolSet)]) {
        let mut open: Vec<u64> = state.fleet.pool_indices().map(|pool| state.capacity().in_pool(pool)).collect();
        let mut claims = Vec::new();
        for (index, pools) in active {
            let job = state.job(*index);
            let choices = self.configurations.of(state, *index, job, *pools);
            if choices.is_empty() { continue; }
            claims.push(claim(&self.tuning, state, *index, job, choices));
        }
        let mut heap = BinaryHeap::new();
        for (number, claim) in claims.iter().enumerate() {
            if let Some((gain, _)) = upgrade(claim, &open) { heap.push((Key::from_f64(gain), Reverse(number))); }
        }
        while let Some((key, Reverse(number))) = heap.pop() {
            let Some((gain, option)) = upgrade(&claims[number], &open) else { continue };
            if Key::from_f64(gain) != key {
                heap.push((Key::from_f64(gain), Reverse(number)));
                continue;
            }
            let claim = &mut claims[number];
            if let Some(before) = claim.chosen {
                open[claim.options[before].0.pool.index()] += u64::from(claim.options[before].0.devices);
            }
            claim.chosen = Some(option);
            open[claim.options[option].0.pool.index()] -= u64::from(claim.options[option].0.devices);
            if let Some((gain, _)) = upgrade(claim, &open) { heap.push((Key::from_f64(gain), Reverse(number))); }
        }
        self.wants = claims.iter().filter_map(|claim| Some((claim.index, claim.options[claim.chosen?].0))).collect();
        self.wants.sort_unstable_by_key(|(index, _)| *index);
    }

    fn size(&self, _state: &State, index: JobIndex, _job: &Job) -> Result<Want, &'static str> {
        let found = self.wants.binary_search_by_key(&index, |(index, _)| *index);
        let (_, choice) = self.wants[found.map_err(|_| "its devices are worth more to other jobs")?];
        Ok(Want { devices: choice.devices, pools: [choice.pool].into_iter().collect() })
    }
}

fn claim(tuning: &Tuning, state: &State, index: JobIndex, job: &Job, choices: &[Choice]) -> Claim {
    let now = state.now();
    let base = choices.iter().map(|c| c.rate / f64::from(c.devices)).fold(0.0, f64::max);
    let attained = job.attained(now) as f64 / 1e6;
    let left = job.estimated_left(now).as_secs_f64();
    let weight = match tuning.mode {
        0 => libm::pow(1.0 + attained / tuning.attained_offset, -tuning.attained),
        1 => libm::pow(left / base, -tuning.attained), // remaining device seconds
        _ => libm::pow((attained + left / base) / 3600.0, -tuning.attained),
    };
    let age = now.since(job.spec.submit).as_secs_f64();
    let delay = job.spec.start_overhead.as_secs_f64();
    let factor = if job.phase == Phase::Running {
        let sia = ((age - f64::from(job.starts) * delay) / (age + delay)).clamp(0.0, 1.0);
        let horizon = (tuning.horizon - delay).max(0.0) / tuning.horizon;
        libm::pow(sia, tuning.age_factor) * horizon
    } else { 1.0 };
    let utility = |s: f64| {
        if tuning.power == 0.0 { libm::log(s + 1e-3) } else { -libm::pow(s + 1e-3, -tuning.power) / tuning.power }
    };
    let options = choices.iter().map(|choice| {
        let held = job.phase == Phase::Running
            && job.allocation.devices() == choice.devices
            && job.allocation.parts().iter().all(|p| state.fleet.node(p.0).pool == choice.pool);
        let rate = if held { choice.rate } else { choice.rate * factor };
        let price = tuning.prices.get(choice.pool.index()).copied().unwrap_or(1.0);
        (*choice, weight * utility(rate / base), price * f64::from(choice.devices))
    });
    Claim { index, options: options.collect(), chosen: None, floor: weight * utility(0.0) }
}

fn upgrade(claim: &Claim, open: &[u64]) -> Option<(f64, usize)> {
    let (worth, cost) = claim.chosen.map_or((claim.floor, 0.0), |chosen| (claim.options[chosen].1, claim.options[chosen].2));
    let held = claim.chosen.map(|chosen| claim.options[chosen].0);
    let mut best = None;
    for (number, (choice, value, price)) in claim.options.iter().enumerate() {
        let mine = held.filter(|held| held.pool == choice.pool).map_or(0, |held| u64::from(held.devices));
        if open[choice.pool.index()] + mine < u64::from(choice.devices) || *price <= cost { continue; }
        let gain = (value - worth) / (price - cost);
        if gain > 0.0 && best.is_none_or(|(best, _)| gain > best) { best = Some((gain, number)); }
    }
    best
}
#[allow(dead_code)]
const S: Span = Span(0);
