//! What was held and sent, in dollars by kind.

use hcrun_protocol::cluster::Trust;

use super::egress::Meter;
use super::money::MicroUsd;
use crate::fleet::{Fleet, PoolIndex, Terms, ZoneIndex};

/// Dollars by kind. The sum of its parts is the whole: each is rounded once.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize)]
pub struct Bill {
    /// What is owned, at its amortised price.
    pub private: MicroUsd,
    pub on_demand: MicroUsd,
    pub spot: MicroUsd,
    pub egress: MicroUsd,
    /// Pools that were used and whose price is unknown: the sums are without them.
    pub unpriced: Vec<String>,
    /// Public zones that sent something and whose egress has no price: the sum is without it.
    pub unpriced_egress: Vec<String>,
}

impl Bill {
    pub fn total(&self) -> MicroUsd {
        self.private + self.on_demand + self.spot + self.egress
    }
}

/// `billed`: device microseconds by pool. `sent`: bytes that left a zone in a month, counted from the start.
pub fn bill(fleet: &Fleet, billed: &[u128], sent: &[(ZoneIndex, u32, u64)]) -> Bill {
    let mut bill = Bill::default();
    for (pool, held) in (0u8..).map(PoolIndex).zip(billed).filter(|(_, held)| **held > 0) {
        let terms = fleet.pool(pool).terms;
        let Some(price) = fleet.costs.pool(pool).price else {
            bill.unpriced.push(fleet.pool(pool).name.clone());
            continue;
        };
        let kind = match terms {
            Terms::Private => &mut bill.private,
            Terms::OnDemand => &mut bill.on_demand,
            Terms::Spot => &mut bill.spot,
        };
        *kind += price.over(*held);
    }
    let mut meter = Meter::default();
    for (zone, month, bytes) in sent {
        let costs = fleet.costs.zone(*zone);
        match &costs.egress {
            // Zones of one provider share an account, and with it the tiers.
            Some(tiers) => bill.egress += meter.charge(tiers, &costs.provider, *month, *bytes),
            // Nobody bills for a line of our own.
            None if fleet.zone(*zone).trust == Trust::Private => {}
            None => {
                let name = fleet.zone(*zone).name.to_string();
                if !bill.unpriced_egress.contains(&name) {
                    bill.unpriced_egress.push(name);
                }
            }
        }
    }
    bill
}
