//! What devices and bytes cost.
//!
//! Prices come from a dated [`PriceTable`] that a cluster file names, never from this code. A [`Costs`] joins a table to a
//! fleet's pools and zones; [`bill`] turns what was held and sent into dollars by kind.

mod bill;
mod egress;
mod exchange;
mod money;
mod prices;
mod providers;

use hcrun_protocol::time::Span;

use crate::fleet::{Fleet, PoolIndex, ZoneIndex};

pub use bill::{Bill, bill};
pub use egress::{BILLED_GB, Meter, Tier, TierError, Tiers};
pub use exchange::{Bandwidth, Every, Exchange};
pub use money::{Granularity, MAX_USD, MicroUsd, PerHour};
pub(crate) use prices::parse_date;
pub use prices::{Dated, PriceError, PriceTable, Problem, Quote, Standing, stale};
pub use providers::{Need, Score, Term, choose};

/// Of one pool.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PoolCosts {
    /// None: unknown, which is not zero.
    pub price: Option<PerHour>,
    pub granularity: Granularity,
}

/// Of one zone.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ZoneCosts {
    /// Who bills for it; empty for our own.
    pub provider: String,
    pub region: String,
    /// What leaves it; none: nobody bills it.
    pub egress: Option<Tiers>,
    pub bandwidth: Option<Bandwidth>,
    pub certifications: Vec<String>,
    /// As the file of prices numbers it, more is better.
    pub support_tier: Option<u8>,
}

/// Of a fleet: in the order of its pools and zones.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Costs {
    pools: Vec<PoolCosts>,
    zones: Vec<ZoneCosts>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("costs are given for {pools} pools and {zones} zones; the fleet has {of_pools} and {of_zones}")]
pub struct CostsError {
    pools: usize,
    zones: usize,
    of_pools: usize,
    of_zones: usize,
}

impl Costs {
    /// Nothing is known.
    pub fn unknown(pools: usize, zones: usize) -> Costs {
        Costs { pools: vec![PoolCosts::default(); pools], zones: vec![ZoneCosts::default(); zones] }
    }

    /// # Errors
    /// If there is not one entry for each pool and zone of the fleet.
    pub fn new(fleet: &Fleet, pools: Vec<PoolCosts>, zones: Vec<ZoneCosts>) -> Result<Costs, CostsError> {
        let (of_pools, of_zones) = (fleet.pools.len(), fleet.zones.len());
        if pools.len() != of_pools || zones.len() != of_zones {
            return Err(CostsError { pools: pools.len(), zones: zones.len(), of_pools, of_zones });
        }
        Ok(Costs { pools, zones })
    }

    /// From a table, for zones that say who runs them and where. What the table lacks stays unknown.
    pub fn from_table(
        fleet: &Fleet,
        mut zones: Vec<ZoneCosts>,
        table: &PriceTable,
    ) -> Result<Costs, CostsError> {
        for zone in &mut zones {
            zone.egress = table.egress(&zone.provider, &zone.region).cloned().or(zone.egress.take());
            zone.bandwidth = table.bandwidth(&zone.provider, &zone.region).or(zone.bandwidth);
            if let Some(standing) = table.standing(&zone.provider, &zone.region) {
                zone.certifications.clone_from(&standing.certifications);
                zone.support_tier = standing.support_tier;
            }
        }
        let pools = fleet.pools.iter().map(|pool| {
            let Some(zone) = zones.get(pool.zone.index()) else { return PoolCosts::default() };
            let quote =
                table.quote(&zone.provider, &zone.region, &fleet.kinds[pool.kind.index()], pool.terms);
            quote.map_or_else(PoolCosts::default, |quote| PoolCosts {
                price: Some(quote.price),
                granularity: quote.granularity,
            })
        });
        let pools = pools.collect();
        Costs::new(fleet, pools, zones)
    }

    /// Gives a pool a price of its own.
    pub fn set_price(&mut self, pool: PoolIndex, price: PerHour) {
        self.pools[pool.index()].price = Some(price);
    }

    pub fn pool(&self, pool: PoolIndex) -> &PoolCosts {
        &self.pools[pool.index()]
    }

    pub fn zone(&self, zone: ZoneIndex) -> &ZoneCosts {
        &self.zones[zone.index()]
    }

    /// Of one device for an hour, in dollars. Unknown prices weigh like the dearest that is known, or 1 if none is.
    pub fn weight(&self, pool: PoolIndex) -> f64 {
        let known = |costs: &PoolCosts| costs.price.map(PerHour::as_usd);
        let dearest = || {
            self.pools
                .iter()
                .filter_map(known)
                .fold(None, |most: Option<f64>, usd| Some(most.map_or(usd, |most| most.max(usd))))
        };
        known(self.pool(pool)).or_else(dearest).unwrap_or(1.0)
    }

    /// What a pool bills for devices held for `held`.
    pub fn billed(&self, pool: PoolIndex, held: Span) -> Span {
        self.pool(pool).granularity.billed(held)
    }
}
