//! A plan: placement, exchange, and what they will cost. Printed by `hcrun plan`, kept in `plan.json`,
//! executed as it stands.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ids::{Rank, ShardId, ZoneId};
use crate::placement::Placement;
use crate::split::Split;

/// Version of the JSON form. Additions keep it.
pub const PLAN_SCHEMA: u32 = 1;

/// Frame bytes per border (`private->public`) and frame class.
pub type Traffic = BTreeMap<String, BTreeMap<String, u64>>;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    pub schema: u32,
    pub job: String,
    pub job_digest: String,
    pub strategy: String,
    pub placement: Placement,
    /// Where the coordinator runs and checkpoints are written.
    pub launcher_zone: ZoneId,
    /// The zone whose workers hand over their state at a checkpoint: the launcher's where it has workers.
    pub checkpoint_zone: ZoneId,
    /// Residency classes, most constrained first.
    pub classes: Vec<PlannedClass>,
    /// Expected samples of one step per rank.
    pub samples_per_step: Vec<f64>,
    pub exchange: ExchangeSummary,
    pub steps: u64,
    pub evaluations: u64,
    pub checkpoints: u64,
    /// Steps that a failure can cost: no optimizer shard has a second holder, so a job goes back to its last
    /// checkpoint.
    pub steps_at_risk: u64,
    pub bytes_per_step: Traffic,
    pub bytes_per_evaluation: Traffic,
    /// Once, before the first step; tables only.
    pub statistics_bytes: Traffic,
    /// One checkpoint on its way to the launcher; nothing where both are in one zone.
    pub checkpoint_bytes: Traffic,
    /// The state that a resumed run sends to workers of other zones, once.
    pub resume_bytes: Traffic,
    /// Of the whole job, not resumed. Control frames are not part of it: they have a cap of their own.
    pub total_bytes: Traffic,
    /// Predicted wall time; none without measurements.
    pub time_s: Option<f64>,
    /// None without prices or without a predicted time.
    pub cost_usd: Option<f64>,
    /// Of all workers together; none if a pool in use has no price.
    pub price: Option<Price>,
    pub warnings: Vec<String>,
}

/// Shards that the same zones may hold: their samples may be computed by the same workers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlannedClass {
    pub zones: Vec<ZoneId>,
    pub ranks: Vec<Rank>,
    /// In the order in which their samples are numbered.
    pub shards: Vec<PlannedShard>,
    pub samples: Split,
    /// Its part of each global batch, between 0 and 1.
    pub batch_share: f64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedShard {
    pub id: ShardId,
    pub samples: Split,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExchangeSummary {
    pub parameters: usize,
    /// Parameters with padding, as they are exchanged.
    pub arena_elems: usize,
    pub buckets: usize,
    pub rounds_per_step: usize,
    pub sharded: bool,
    pub min_contributors: u16,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Price {
    pub usd_per_hour: f64,
    /// Where the prices come from.
    pub sources: Vec<String>,
}

/// The name of a border in plans, summaries and reports.
pub fn border(from: &ZoneId, to: &ZoneId) -> String {
    format!("{from}->{to}")
}

/// Adds `times` times `traffic` to `total`; what never happened is not listed.
pub fn add_traffic(total: &mut Traffic, traffic: &Traffic, times: u64) {
    if times == 0 {
        return;
    }
    for (border, classes) in traffic {
        for (class, bytes) in classes {
            *total.entry(border.clone()).or_default().entry(class.clone()).or_default() += bytes * times;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_never_happened_is_not_in_the_ledger() {
        let class = |bytes| BTreeMap::from([("statistics".to_owned(), bytes)]);
        let once = Traffic::from([("private->public".to_owned(), class(264))]);
        let mut total = Traffic::new();
        add_traffic(&mut total, &once, 0);
        assert_eq!(total, Traffic::new());
        add_traffic(&mut total, &once, 3);
        assert_eq!(total["private->public"], class(792));
    }
}
