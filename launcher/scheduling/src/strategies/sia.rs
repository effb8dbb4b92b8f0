//! `sia`: one configuration for every job at once, by an integer program.
//!
//! Source: Jayaram Subramanya et al., "Sia: Heterogeneity-aware, goodput-optimized ML-cluster scheduling", SOSP 2023. The
//! sum of (normalised goodput) ^ power over all jobs is least for a negative power, a job without devices counts
//! `unallocated`, and goodput in another configuration than the present one is scaled by the restart factor. Speeds
//! come from profiles of all configurations, where Sia starts from one and learns the others.

use super::elastic::{Choice, Claim, Claims, Configurations, Grants, Offer, deal, holds, restart_factor};
use crate::fleet::PoolSet;
use crate::job::JobIndex;
use crate::solver::Program;
use crate::state::{Job, State};
use crate::strategy::{Size, Want};

#[derive(Debug, Clone)]
pub struct Sia {
    /// Below zero.
    pub power: f64,
    /// What a job without devices counts; one in its least configuration counts 1.
    pub unallocated: f64,
    /// How far from the best sum a solution may be, as a share of it.
    pub gap: f64,
    /// After so many nodes of the search the best solution so far counts. Bounds the time of a decision, and unlike a
    /// time limit gives the same solution everywhere.
    pub nodes: u64,
    configurations: Configurations,
    grants: Grants,
}

impl Default for Sia {
    /// As published.
    fn default() -> Sia {
        Sia {
            power: -0.5,
            unallocated: 1.1,
            gap: 1e-3,
            nodes: 100,
            configurations: Configurations::default(),
            grants: Grants::default(),
        }
    }
}

impl Size for Sia {
    fn is_joint(&self) -> bool {
        true
    }

    fn is_elastic(&self) -> bool {
        true
    }

    fn prepare(&mut self, state: &State, active: &[(JobIndex, PoolSet)]) {
        let (power, unallocated) = (self.power, self.unallocated);
        let claim = |index, job: &Job, choices: &[Choice]| {
            let least = choices.iter().map(|choice| choice.rate).fold(f64::INFINITY, f64::min);
            let factor = restart_factor(state, job);
            let offer = |choice: &Choice| {
                let kept = if holds(state, job, choice) { 1.0 } else { factor };
                let goodput = (kept * choice.rate / least).max(1e-3);
                let worth = job.spec.weight * (unallocated - libm::pow(goodput, power));
                Offer { choice: *choice, worth, cost: f64::from(choice.devices) }
            };
            Claim { index, offers: choices.iter().map(offer).collect(), nothing: 0.0, granted: None }
        };
        let mut claims = Claims::new(&mut self.configurations, state, active, claim);
        deal(&mut claims.claims, claims.open.clone());
        solve(&mut claims.claims, &claims.open, self.gap, self.nodes);
        self.grants = claims.grants();
    }

    fn size(&self, _state: &State, index: JobIndex, _job: &Job) -> Result<Want, &'static str> {
        self.grants.want(index)
    }
}

/// Grants at most one offer per claim within `open` devices by pool, for the largest sum of worths; starts from what is
/// granted already.
fn solve(claims: &mut [Claim], open: &[u64], gap: f64, nodes: u64) {
    let mut program = Program::new();
    let mut in_pool = vec![Vec::new(); open.len()];
    let (mut variables, mut start) = (Vec::with_capacity(claims.len()), Vec::new());
    for claim in &*claims {
        let mut of_claim = Vec::with_capacity(claim.offers.len());
        for (number, offer) in claim.offers.iter().enumerate() {
            let beaten = |other: &Offer| {
                other.choice.pool == offer.choice.pool
                    && other.choice.devices < offer.choice.devices
                    && other.worth >= offer.worth
            };
            let granted = claim.granted == Some(number);
            if granted || offer.worth > claim.nothing && !claim.offers.iter().any(beaten) {
                let variable = program.binary(offer.worth - claim.nothing);
                in_pool[offer.choice.pool.index()].push((variable, f64::from(offer.choice.devices)));
                of_claim.push((number, variable));
                start.push((variable, if claim.granted == Some(number) { 1.0 } else { 0.0 }));
            }
        }
        let one: Vec<_> = of_claim.iter().map(|(_, variable)| (*variable, 1.0)).collect();
        if !one.is_empty() {
            program.at_most(&one, 1.0);
        }
        variables.push(of_claim);
    }
    for (terms, devices) in in_pool.iter().zip(open) {
        if !terms.is_empty() {
            program.at_most(terms, *devices as f64);
        }
    }
    if variables.iter().all(Vec::is_empty) {
        return;
    }
    // What was dealt meets all limits, so there is a solution; if the solver failed all the same, it stands.
    let Ok(values) = program.improve(&start, gap, nodes) else { return };
    for (claim, of_claim) in claims.iter_mut().zip(variables) {
        let granted = of_claim.into_iter().find(|(_, variable)| values[*variable] > 0.5);
        claim.granted = granted.map(|(number, _)| number);
    }
}
