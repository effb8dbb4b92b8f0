//! Which pool of which provider: hard requirements first, then dollars an hour, and support where dollars are equal.

use super::money::PerHour;
use crate::fleet::{Fleet, PoolIndex, PoolSet, Terms};

/// What a job asks of whoever runs its devices.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Need {
    /// Each must be among the zone's.
    pub certifications: Vec<String>,
    /// At least this tier.
    pub support_tier: Option<u8>,
    /// At least as many in one pool.
    pub devices: u32,
}

/// One addend of a score, in dollars for a device hour.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Term {
    pub name: &'static str,
    pub usd_per_hour: f64,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Score {
    pub pool: PoolIndex,
    pub terms: Vec<Term>,
    /// Which requirement it fails, in words; then it is not chosen at any price.
    pub refused: Option<String>,
    pub support_tier: Option<u8>,
}

impl Score {
    pub fn usd_per_hour(&self) -> f64 {
        self.terms.iter().map(|term| term.usd_per_hour).sum()
    }
}

/// All of `pools` with their scores, best first, those that are refused last.
///
/// Stability is priced as what a loss takes: `losses_per_hour` of anything that the gang runs on times `hours_lost` at the
/// pool's price, for the whole gang stands still meanwhile. Hazards come from a history or an online estimate; without one the
/// term is left out.
pub fn choose(
    fleet: &Fleet,
    pools: PoolSet,
    need: &Need,
    hours_lost: f64,
    losses_per_hour: &dyn Fn(PoolIndex) -> Option<f64>,
) -> Vec<Score> {
    let chosen = fleet.pool_indices().filter(|pool| pools.contains(*pool));
    let mut scores: Vec<Score> =
        chosen.map(|pool| score(fleet, pool, need, hours_lost, losses_per_hour(pool))).collect();
    scores.sort_by(|a, b| {
        let refused = a.refused.is_some().cmp(&b.refused.is_some());
        let dollars = a.usd_per_hour().total_cmp(&b.usd_per_hour());
        refused.then(dollars).then(b.support_tier.cmp(&a.support_tier)).then(a.pool.cmp(&b.pool))
    });
    scores
}

fn score(fleet: &Fleet, index: PoolIndex, need: &Need, hours_lost: f64, hazard: Option<f64>) -> Score {
    let pool = fleet.pool(index);
    let (zone, price) = (fleet.costs.zone(pool.zone), fleet.costs.pool(index).price);
    let mut terms = Vec::new();
    if let Some(price) = price {
        terms.push(Term { name: "price", usd_per_hour: price.as_usd() });
        if let (Terms::Spot, Some(hazard)) = (pool.terms, hazard) {
            terms.push(Term { name: "stability", usd_per_hour: lost(price, hazard, hours_lost) });
        }
    }
    let missing = need.certifications.iter().find(|wanted| !zone.certifications.contains(wanted));
    let name = &fleet.zone(pool.zone).name;
    let devices = fleet.devices_in(PoolSet::from_iter([index]));
    let refused = match (missing, need.support_tier) {
        (Some(wanted), _) => Some(format!("zone `{name}` is not certified for {wanted}")),
        (None, Some(tier)) if zone.support_tier.is_none_or(|has| has < tier) => {
            Some(match zone.support_tier {
                Some(has) => format!("zone `{name}` has support tier {has}; the job needs {tier}"),
                None => format!("zone `{name}` states no support tier; the job needs {tier}"),
            })
        }
        _ if devices < u64::from(need.devices) => {
            let wanted = need.devices;
            Some(format!("pool `{}` has {devices} devices; the job needs {wanted}", pool.name))
        }
        _ if price.is_none() => Some(format!("the price of pool `{}` is unknown", pool.name)),
        _ => None,
    };
    Score { pool: index, terms, refused, support_tier: zone.support_tier }
}

fn lost(price: PerHour, losses_per_hour: f64, hours_lost: f64) -> f64 {
    price.as_usd() * losses_per_hour * hours_lost
}
